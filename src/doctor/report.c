/*
 * A bundle for a bug report: what was seen, with names blanked. What identifies is found first
 * (this user and host, the homes that are named, what JSON calls "serial"), then replaced
 * everywhere as a whole word; UUIDs and MAC addresses are known by their form. The same name gets
 * the same blank, so that the checks say of the report what they said of the machine.
 */
#include "doctor/root_priv.h"

#include "util/users.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

#define NAME_MIN 2 /* a shorter name is in every other word */
#define UUID_LEN 36
#define MAC_LEN  17
#define HOST_MAX 256

struct blank {
	struct strings names, blanks;
	size_t n_uuids, n_macs, n_users, n_hosts, n_serials;
};

static void add_name(struct blank *blank, const char *name, const char *kind, size_t *n)
{
	if (strlen(name) < NAME_MIN || strcmp(name, "root") == 0 || strcmp(name, "localhost") == 0)
		return;
	for (size_t i = 0; i < blank->names.n; i++)
		if (strcmp(blank->names.items[i], name) == 0)
			return;
	strings_add(&blank->names, name);
	strings_take(&blank->blanks, mem_printf("%s%zu", kind, ++*n));
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

/* --- what identifies --- */

/* The names of folders in /home. */
static void find_homes(struct blank *blank, const char *text)
{
	static const char *const home = "/home/";

	for (const char *p = text; (p = strstr(p, home));) {
		auto_free char *name = NULL;
		size_t len = 0;

		p += strlen(home);
		while (is_word(p[len]) || p[len] == '-' || p[len] == '.')
			len++;
		name = mem_strndup(p, len);
		add_name(blank, name, "user", &blank->n_users);
	}
}

/* Values of "serial" in JSON and of "Serial Number:" of /proc/driver/nvidia. */
static void find_serials(struct blank *blank, const char *text)
{
	for (const char *p = text; (p = strcasestr(p, "serial"));) {
		auto_free char *value = NULL;
		size_t len = 0;

		p += strcspn(p, ":=\n");
		if (*p != ':' && *p != '=')
			continue;
		p++;
		p += strspn(p, " \t\"");
		while (isalnum((unsigned char)p[len]) || p[len] == '-')
			len++;
		value = mem_strndup(p, len);
		if (len >= 6 && strpbrk(value, "0123456789"))
			add_name(blank, value, "serial", &blank->n_serials);
		p += len;
	}
}

static void find_names(struct blank *blank, const struct entries *seen)
{
	char host[HOST_MAX] = "", name[USER_NAME_MAX];

	(void)gethostname(host, sizeof host - 1);
	add_name(blank, host, "host", &blank->n_hosts);
	if (strchr(host, '.')) {
		*strchr(host, '.') = '\0';
		add_name(blank, host, "host", &blank->n_hosts);
	}
	add_name(blank, user_name(geteuid(), name), "user", &blank->n_users);
	add_name(blank, user_name(getuid(), name), "user", &blank->n_users);
	if (getenv("SUDO_USER"))
		add_name(blank, getenv("SUDO_USER"), "user", &blank->n_users);
	for (size_t i = 0; i < seen->n; i++) {
		find_homes(blank, seen->items[i].text);
		find_homes(blank, seen->items[i].path);
		find_serials(blank, seen->items[i].text);
	}
}

/* --- what is put in its place --- */

static bool is_uuid(const char *p)
{
	for (size_t i = 0; i < UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? p[i] != '-' : !isxdigit((unsigned char)p[i]))
			return false;
	}
	return !isxdigit((unsigned char)p[UUID_LEN]);
}

static bool is_mac(const char *p)
{
	for (size_t i = 0; i < MAC_LEN; i++)
		if (i % 3 == 2 ? p[i] != ':' : !isxdigit((unsigned char)p[i]))
			return false;
	return p[MAC_LEN] != ':' && !isxdigit((unsigned char)p[MAC_LEN]);
}

static const char *blank_of(struct blank *blank, const char *name, size_t len, bool uuid)
{
	auto_free char *copy = mem_strndup(name, len);

	for (char *p = copy; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	for (size_t i = 0; i < blank->names.n; i++)
		if (strcmp(blank->names.items[i], copy) == 0)
			return blank->blanks.items[i];
	strings_add(&blank->names, copy);
	if (uuid) {
		strings_take(&blank->blanks,
			     mem_printf("00000000-0000-0000-0000-%012zx", ++blank->n_uuids));
	} else {
		size_t n = ++blank->n_macs;

		strings_take(&blank->blanks,
			     mem_printf("00:00:00:00:%02zx:%02zx", n >> 8 & 0xff, n & 0xff));
	}
	return blank->blanks.items[blank->blanks.n - 1];
}

/* The longest name that stands here as a whole word. */
static const char *name_at(const struct blank *blank, const char *text, const char *p,
			   size_t n_names, size_t *ret_len)
{
	const char *found = NULL;

	if (p > text && is_word(p[-1]))
		return NULL;
	*ret_len = 0;
	for (size_t i = 0; i < n_names; i++) {
		size_t len = strlen(blank->names.items[i]);

		if (len > *ret_len && strncmp(p, blank->names.items[i], len) == 0 &&
		    !is_word(p[len])) {
			found = blank->blanks.items[i];
			*ret_len = len;
		}
	}
	return found;
}

/* `forms`: UUIDs and MAC addresses too, which in a path are names of other things (variables of
 * EFI). */
static char *blanked(struct blank *blank, const char *text, size_t n_names, bool forms)
{
	struct text out = {};

	for (const char *p = text; *p;) {
		bool begins = forms && (p == text || !isxdigit((unsigned char)p[-1]));
		size_t len = 0;
		const char *name = name_at(blank, text, p, n_names, &len);

		if (name) {
			text_add(&out, name);
		} else if (begins && is_uuid(p)) {
			len = UUID_LEN;
			text_add(&out, blank_of(blank, p, len, true));
		} else if (begins && (p == text || p[-1] != ':') && is_mac(p)) {
			len = MAC_LEN;
			text_add(&out, blank_of(blank, p, len, false));
		} else {
			len = 1;
			text_add_bytes(&out, p, 1);
		}
		p += len;
	}
	return text_take(&out);
}

void root_bundle(struct root *root, const char *head, struct text *ret_bundle)
{
	struct entries entries = {};
	struct blank blank = {};
	auto_free char *blank_head = NULL;
	size_t n_names;

	find_names(&blank, &root->seen);
	n_names = blank.names.n; /* what comes after them is known by its form */
	blank_head = blanked(&blank, head, n_names, true);
	for (size_t i = 0; i < root->seen.n; i++) {
		const struct entry *entry = &root->seen.items[i];
		auto_free char *path = blanked(&blank, entry->path, n_names, false);
		auto_free char *text = blanked(&blank, entry->text, n_names, true);

		entries_put(&entries, path, entry->kind, text);
	}
	text_printf(ret_bundle, "%s%s\n", blank_head, text_ends_with(head, "\n") ? "" : "\n");
	bundle_write(&entries, ret_bundle);
	entries_finish(&entries);
	strings_finish(&blank.names);
	strings_finish(&blank.blanks);
}
