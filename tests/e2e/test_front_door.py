"""The first things a user types."""

import re


def test_version_and_help_need_nothing(sandbox):
    version = sandbox.plimsoll("--version", check=0).stdout
    assert re.fullmatch(r"plimsoll \d+\.\d+\.\d+\n", version)
    text = sandbox.plimsoll("--help", check=0).stdout
    assert "usage: plimsoll VERB" in text
    assert list((sandbox.dir / "state").iterdir()) == [], "asking for help must not start a daemon"


def test_every_verb_has_help_with_examples(sandbox):
    text = sandbox.plimsoll("--help", check=0).stdout
    verbs = re.findall(r"^  ([a-z]+) +\S", text.split("verbs:")[1].split("\n\n")[0], re.M)
    assert "sim" in verbs
    for verb in verbs:
        told = sandbox.plimsoll(verb, "--help", check=0).stdout
        assert told.startswith(f"plimsoll {verb} - "), verb
        assert f"examples:\n  plimsoll {verb}" in told, verb


def test_a_wrong_verb_is_answered_with_the_nearest(sandbox):
    wrong = sandbox.plimsoll("smi", check=2)
    assert 'did you mean "sim"?' in wrong.stderr
    assert wrong.stdout == ""


def test_a_wrong_option_is_usage(sandbox):
    assert "--nonsense" in sandbox.plimsoll("sim", "--nonsense", "--", "true", check=2).stderr
