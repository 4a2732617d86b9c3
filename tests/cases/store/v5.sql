-- A state database as schema version 5 wrote it.
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE environment (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, text BLOB NOT NULL);
CREATE INDEX environment_hash ON environment (hash);
CREATE TABLE batch (id INTEGER PRIMARY KEY, name TEXT NOT NULL, uid INTEGER NOT NULL, state TEXT NOT NULL,
 on_failure TEXT NOT NULL, submitted_at INTEGER NOT NULL, first_start INTEGER NOT NULL, ended_at INTEGER NOT NULL,
 total INTEGER NOT NULL, summary TEXT);
CREATE INDEX batch_open ON batch (id) WHERE ended_at = 0;
CREATE TABLE task (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, row INTEGER NOT NULL, name TEXT NOT NULL,
 kind TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, fingerprint TEXT, priority INTEGER NOT NULL, uid INTEGER NOT NULL,
 environment INTEGER NOT NULL, submitted_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, spec TEXT NOT NULL, more TEXT);
CREATE INDEX task_batch ON task (batch, id) WHERE batch <> 0;
CREATE INDEX task_done ON task (fingerprint) WHERE fingerprint IS NOT NULL AND state = 'done';
CREATE TABLE attempt (task INTEGER NOT NULL, number INTEGER NOT NULL, device TEXT NOT NULL, policy TEXT NOT NULL,
 reason TEXT, gpus TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, outcome TEXT, exit_code INTEGER,
 signal INTEGER, peak_vram INTEGER, peak_ram INTEGER, more TEXT, PRIMARY KEY (task, number)) WITHOUT ROWID;
CREATE TABLE profile (kind TEXT NOT NULL, model TEXT NOT NULL, speed REAL NOT NULL, vram_request INTEGER NOT NULL,
 work REAL NOT NULL, variance REAL NOT NULL, utilization REAL NOT NULL, peak_vram INTEGER NOT NULL,
 peak_ram INTEGER NOT NULL, samples INTEGER NOT NULL, hint_mean REAL NOT NULL, hint_variance REAL NOT NULL,
 hint_covariance REAL NOT NULL, hint_samples INTEGER NOT NULL, runs INTEGER NOT NULL DEFAULT 0,
 peaks TEXT, oom_vram INTEGER NOT NULL DEFAULT 0, batch_size INTEGER NOT NULL DEFAULT 0,
 first_at INTEGER NOT NULL DEFAULT 0, last_at INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (kind, model)) WITHOUT ROWID;
CREATE TABLE submit (key TEXT PRIMARY KEY, is_batch INTEGER NOT NULL, id INTEGER NOT NULL,
 skipped INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE archive (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, row INTEGER NOT NULL, name TEXT NOT NULL,
 kind TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, fingerprint TEXT, priority INTEGER NOT NULL, uid INTEGER NOT NULL,
 submitted_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, spec TEXT NOT NULL, number INTEGER NOT NULL, device TEXT,
 policy TEXT, gpus TEXT, started_at INTEGER, ended_at INTEGER, outcome TEXT, exit_code INTEGER, signal INTEGER,
 peak_vram INTEGER, peak_ram INTEGER, logs INTEGER NOT NULL, more TEXT);
CREATE INDEX archive_batch ON archive (batch, id) WHERE batch <> 0;
CREATE INDEX archive_done ON archive (fingerprint) WHERE fingerprint IS NOT NULL AND state = 'done';
CREATE INDEX archive_logs ON archive (id) WHERE logs > 0;
CREATE INDEX task_ended ON task (updated_at, batch) WHERE state = 'done' OR state = 'failed'
 OR state = 'canceled' OR state = 'lost';
CREATE INDEX task_environment ON task (environment) WHERE environment <> 0;
CREATE INDEX submit_id ON submit (is_batch, id);
INSERT INTO meta VALUES ('created', '2026-11-21T10:00:00.000Z');
INSERT INTO environment VALUES (1, 4611686018427387904, x'504154483d2f62696e00');
INSERT INTO batch VALUES (3, 'assets.json', 1000, 'running', 'ask', 1763719200000, 1763719201000, 0, 1, NULL);
INSERT INTO task VALUES (41, 3, 1, 'a.wav', 'whisper-large', 'running', NULL, 'c0ffee', 0, 1000, 1, 1763719200000,
 1763719201000, '{"command":["python3","transcribe.py","a.wav"]}', NULL);
INSERT INTO attempt VALUES (41, 1, 'cuda:0', 'auto', 'GPU 0: room 11.3 GiB', '[{"index":0,"uuid":"GPU-1"}]', 1763719201000,
 0, NULL, NULL, NULL, NULL, NULL, '{"batch_size":8}');
INSERT INTO profile VALUES ('whisper-large', 'NVIDIA GeForce RTX 5070 Ti', 1.0, 5368709120, 21.5, 4.0, 60.0, 4800000000,
 7000000000, 12, 0, 0, 0, 0, 13, '{"vram":[4800000000],"ram":[7000000000]}', 0, 8, 1763700000000, 1763710900000);
INSERT INTO submit VALUES ('5ca1ab1e', 1, 3, 7);
INSERT INTO archive VALUES (7, 2, 4, 'old.wav', 'whisper-large', 'done', NULL, 'badcafe', 0, 1000, 1763710000000,
 1763710900000, '{"command":["python3","transcribe.py","old.wav"]}', 2, 'cuda:0', 'auto', '[{"index":0,"uuid":"GPU-1"}]',
 1763710800000, 1763710900000, 'ok', 0, 0, 4700000000, NULL, 0, NULL);
PRAGMA user_version = 5;
COMMIT;
