/* See paths.h. */
#include "util/paths.h"

#include "config.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *env_absolute(const char *name)
{
	const char *value = getenv(name);

	/* The XDG specification: a relative path there is invalid and to be ignored. */
	return value && value[0] == '/' ? value : NULL;
}

static const char *home(void)
{
	const char *dir = env_absolute("HOME");
	const struct passwd *pw;

	if (dir)
		return dir;
	pw = getpwuid(geteuid());
	return pw && pw->pw_dir ? pw->pw_dir : "/";
}

char *paths_runtime_dir(void)
{
	const char *xdg = env_absolute("XDG_RUNTIME_DIR");
	unsigned uid = (unsigned)geteuid();
	auto_free char *run = mem_printf("/run/user/%u", uid);
	struct stat st;

	if (xdg)
		return mem_printf("%s/plimsoll", xdg);
	if (stat(run, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		return mem_printf("%s/plimsoll", run);
	return mem_printf("/tmp/plimsoll-%u", uid);
}

char *paths_state_dir(void)
{
	const char *xdg = env_absolute("XDG_STATE_HOME");

	return xdg ? mem_printf("%s/plimsoll", xdg)
		   : mem_printf("%s/.local/state/plimsoll", home());
}

char *paths_in_runtime(const char *name)
{
	auto_free char *dir = paths_runtime_dir();

	return mem_printf("%s/%s", dir, name);
}

char *paths_system_runtime_dir(void)
{
	const char *given = env_absolute("PLIMSOLL_SYSTEM_RUNTIME_DIR");

	return mem_strdup(given ? given : "/run/plimsoll");
}

char *paths_system_state_dir(void)
{
	const char *given = env_absolute("PLIMSOLL_SYSTEM_STATE_DIR");

	return mem_strdup(given ? given : "/var/lib/plimsoll");
}

char *paths_folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return mem_strdup(".");
	return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

int paths_self(char **ret_path, struct error *err)
{
	char buf[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", buf, sizeof buf - 1);

	if (n < 0)
		return error_sys(err, -errno, "cannot read /proc/self/exe");
	buf[n] = '\0';
	/* After an upgrade under a running program the kernel adds " (deleted)". */
	if (n > 10 && strcmp(buf + n - 10, " (deleted)") == 0)
		buf[n - 10] = '\0';
	*ret_path = mem_strdup(buf);
	return 0;
}

static int own_folder(char **ret_folder, struct error *err)
{
	auto_free char *self = NULL;
	int r = paths_self(&self, err);

	if (r == 0)
		*ret_folder = paths_folder_of(self);
	return r;
}

int paths_find_helper(const char *name, char **ret_path, struct error *err)
{
	auto_free char *folder = NULL, *beside = NULL, *installed = NULL;
	int r = own_folder(&folder, err);

	if (r < 0)
		return r;
	beside = mem_printf("%s/%s", folder, name);
	installed = mem_printf("%s/%s", PLIMSOLL_LIBEXECDIR, name);
	if (access(beside, X_OK) == 0)
		*ret_path = TAKE(beside);
	else if (access(installed, X_OK) == 0)
		*ret_path = TAKE(installed);
	else
		return error_set(err, -ENOENT,
				 "%s is neither in %s nor in %s: the installation is incomplete",
				 name, folder, PLIMSOLL_LIBEXECDIR);
	return 0;
}

int paths_find_data(const char *name, char **ret_path, struct error *err)
{
	const char *given = env_absolute("PLIMSOLL_DATADIR");
	auto_free char *folder = NULL, *path = NULL;
	int r = own_folder(&folder, err);

	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++) {
		free(path);
		if (i == 0)
			path = given ? mem_printf("%s/%s", given, name) : NULL;
		else if (i == 1)
			path = mem_printf("%s/../data/%s", folder, name);
		else
			path = mem_printf("%s/%s", PLIMSOLL_DATADIR, name);
		if (path && access(path, R_OK) == 0) {
			*ret_path = TAKE(path);
			return 0;
		}
	}
	return error_set(err, -ENOENT, "data file %s is not in %s: the installation is incomplete",
			 name, PLIMSOLL_DATADIR);
}
