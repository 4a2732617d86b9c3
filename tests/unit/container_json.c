/* container/json: what dockerd 20.10 and podman 4.3 answer (shortened), and what nobody
 * should. */
#include "container/json.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

#define ID "bc6aa13e124d2eeb26ddba9e03b7626725df99379725585d7fe159e36a0ddad3"

static json_t *parsed(const char *text)
{
	struct error err = {};
	json_t *json = NULL;

	if (jsonx_parse(text, strlen(text), "test", &json, &err) < 0)
		fail_msg("%s", err.text);
	return json;
}

static void kinds_are_told_apart(void **state)
{
	auto_json json_t *docker = parsed(
	    "{\"Components\": [{\"Name\": \"Engine\", \"Version\": \"20.10.24\", \"Details\":"
	    " {\"ApiVersion\": \"1.41\"}}, {\"Name\": \"containerd\"}],"
	    " \"Version\": \"20.10.24+dfsg1\", \"ApiVersion\": \"1.41\"}");
	auto_json json_t *podman =
	    parsed("{\"Components\": [{\"Name\": \"Podman Engine\", \"Details\":"
		   " {\"APIVersion\": \"4.3.1\"}}, {\"Name\": \"Conmon\"}],"
		   " \"Version\": \"4.3.1\", \"ApiVersion\": \"1.41\"}");
	auto_json json_t *hostile =
	    parsed("{\"Components\": [{\"Name\": \"Podman Engine\", \"Details\":"
		   " {\"APIVersion\": \"../../x\"}}], \"Version\": \"4\", \"ApiVersion\": \"1\"}");
	auto_json json_t *other = parsed("{\"Version\": 5}");
	struct container_engine_about about = {};
	struct error err = {};

	assert_int_equal(container_parse_version(docker, &about, &err), 0);
	assert_int_equal(about.kind, CONTAINER_DOCKER);
	assert_string_equal(about.libpod_api, "");
	assert_int_equal(container_parse_version(podman, &about, &err), 0);
	assert_int_equal(about.kind, CONTAINER_PODMAN);
	assert_string_equal(about.libpod_api, "4.3.1");
	assert_int_equal(container_parse_version(hostile, &about, &err), 0);
	assert_string_equal(about.libpod_api, "");
	assert_int_equal(container_parse_version(other, &about, &err), -EPROTO);
	assert_int_equal(container_parse_version(NULL, &about, &err), -EPROTO);
}

static void headers_tell_them_apart_too(void **state)
{
	struct container_engine_about about = {};

	assert_true(container_parse_server("Docker/20.10.24+dfsg1 (linux)", "", &about));
	assert_int_equal(about.kind, CONTAINER_DOCKER);
	assert_true(container_parse_server("Libpod/4.3.1 (linux)", "4.3.1", &about));
	assert_int_equal(about.kind, CONTAINER_PODMAN);
	assert_string_equal(about.libpod_api, "4.3.1");
	assert_true(container_parse_server("Libpod/5", "../x", &about));
	assert_string_equal(about.libpod_api, "");
	assert_false(container_parse_server("", "", &about));
	assert_false(container_parse_server("nginx/1.2", "4.3.1", &about));
}

static void a_list_has_names_and_labels(void **state)
{
	auto_json json_t *json = parsed(
	    "[{\"Id\": \"" ID "\", \"Names\": [\"/x_b_2\"], \"State\": \"running\", \"Labels\": {"
	    "\"com.docker.compose.container-number\": \"2\", \"com.docker.compose.oneoff\": "
	    "\"False\","
	    "\"com.docker.compose.project\": \"x\", \"com.docker.compose.service\": \"b\","
	    "\"com.docker.compose.project.config_files\": \"dc.yml,more.yml\","
	    "\"com.docker.compose.project.working_dir\": \"/srv\","
	    "\"com.docker.compose.version\": \"1.29.2\"}},"
	    "{\"Id\": \"c388fb0f35e7\", \"Names\": [\"/pc_a_1\"], \"State\": \"exited\", "
	    "\"Labels\": {"
	    "\"io.podman.compose.project\": \"pc\", \"com.docker.compose.service\": \"a\","
	    "\"io.podman.compose.version\": \"0.0.1\"}},"
	    "{\"Id\": \"0123456789ab\", \"Names\": [\"/evil\\u001b[2J\"], \"Labels\": {"
	    "\"com.docker.compose.service\": \"a\\nb\", \"com.docker.compose.project\": 5}},"
	    "{\"Id\": \"../../etc/passwd\"}, {\"Id\": 7}, 8, null,"
	    "{\"Id\": \"0123456789ac\", \"Names\": null, \"Labels\": null}]");
	auto_containers struct containers list = {};
	const struct container *c;

	assert_int_equal(container_parse_list(json, &list, NULL), 0);
	assert_int_equal(list.n, 4);
	assert_string_equal(list.items[0].name, "0123456789ab"); /* not what it called itself */
	assert_null(list.items[0].service);
	assert_null(list.items[0].project);
	assert_string_equal(list.items[1].name, "0123456789ac");
	c = &list.items[2];
	assert_string_equal(c->name, "pc_a_1");
	assert_string_equal(c->project, "pc");
	assert_true(c->by_podman_compose);
	assert_false(c->running);
	assert_int_equal(c->number, 1);
	c = &list.items[3];
	assert_string_equal(c->id, ID);
	assert_string_equal(c->project, "x");
	assert_string_equal(c->service, "b");
	assert_int_equal(c->number, 2);
	assert_true(c->running);
	assert_false(c->oneoff);
	assert_false(c->by_podman_compose);
}

static void a_list_is_a_list(void **state)
{
	auto_containers struct containers list = {};
	auto_json json_t *object = parsed("{\"Id\": \"" ID "\"}"), *many = json_array();
	struct error err = {};

	assert_int_equal(container_parse_list(object, &list, &err), -EPROTO);
	assert_int_equal(container_parse_list(NULL, &list, &err), -EPROTO);
	for (int i = 0; i <= CONTAINERS_MAX; i++)
		(void)json_array_append_new(many, json_null());
	assert_int_equal(container_parse_list(many, &list, &err), -E2BIG);
}

static void how_a_container_is(void **state)
{
	static const struct {
		const char *state;
		bool running, restarting, has_health;
		enum container_health health;
		int exit_code;
		pid_t pid;
	} cases[] = {
	    {"{\"Running\": true, \"Pid\": 25662, \"ExitCode\": 0, \"Health\": {\"Status\":"
	     " \"healthy\"}}",
	     true, false, true, CONTAINER_HEALTHY, 0, 25662},
	    {"{\"Running\": true, \"Pid\": 7, \"Health\": {\"Status\": \"starting\"}}", true, false,
	     true, CONTAINER_STARTING, 0, 7},
	    {"{\"Running\": true, \"Pid\": 7, \"Healthcheck\": {\"Status\": \"unhealthy\"}}", true,
	     false, true, CONTAINER_UNHEALTHY, 0, 7},
	    /* podman, without one */
	    {"{\"Running\": true, \"Pid\": 7, \"Health\": {\"Status\": \"\"}}", true, false, false,
	     CONTAINER_STARTING, 0, 7},
	    {"{\"Running\": true, \"Pid\": 7, \"Health\": {\"Status\": \"none\"}}", true, false,
	     false, CONTAINER_STARTING, 0, 7},
	    {"{\"Running\": false, \"Restarting\": true, \"ExitCode\": 137}", false, true, false,
	     CONTAINER_STARTING, 137, 0},
	    {"{\"Running\": 1, \"Pid\": \"7\", \"Health\": []}", false, false, false,
	     CONTAINER_STARTING, 0, 0},
	    {"{\"Pid\": 99999999999, \"ExitCode\": -1}", false, false, false, CONTAINER_STARTING,
	     -1, 2147483647},
	    {"null", false, false, false, CONTAINER_STARTING, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *text = mem_printf(
		    "{\"Id\": \"" ID "\", \"Name\": \"/a\", \"State\": %s}", cases[i].state);
		auto_json json_t *json = parsed(text);
		struct container c = {};

		assert_int_equal(container_parse_inspect(json, CONTAINER_DOCKER, &c, NULL), 0);
		assert_string_equal(c.name, "a");
		assert_int_equal(c.running, cases[i].running);
		assert_int_equal(c.restarting, cases[i].restarting);
		assert_int_equal(c.has_health, cases[i].has_health);
		assert_int_equal(c.health, cases[i].health);
		assert_int_equal(c.exit_code, cases[i].exit_code);
		assert_int_equal(c.pid, cases[i].pid);
		container_finish(&c);
	}
}

#define ENV(value) "\"Config\": {\"Env\": [\"PATH=/bin\", \"NVIDIA_VISIBLE_DEVICES=" value "\"]}"

static void what_a_container_was_given(void **state)
{
	static const struct {
		enum container_engine_kind kind;
		const char *text;
		const char *devices;
		bool all;
	} cases[] = {
	    {CONTAINER_DOCKER,
	     "\"HostConfig\": {\"DeviceRequests\": [{\"Driver\": \"nvidia\", \"Count\": 0,"
	     " \"DeviceIDs\": [\"GPU-aaa\", \"1\"], \"Capabilities\": [[\"gpu\"]]}]}",
	     "GPU-aaa,1", false},
	    {CONTAINER_DOCKER,
	     "\"HostConfig\": {\"DeviceRequests\": [{\"Count\": -1, \"DeviceIDs\": null}]}", NULL,
	     true},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"DeviceRequests\": [{\"Count\": 2}]}", "0,1",
	     false},
	    {CONTAINER_DOCKER,
	     "\"HostConfig\": {\"DeviceRequests\": [{\"Driver\": \"cdi\", \"DeviceIDs\":"
	     " [\"nvidia.com/gpu=1\"]}]}",
	     "nvidia.com/gpu=1", false},
	    /* the request wins over the variable */
	    {CONTAINER_DOCKER,
	     "\"HostConfig\": {\"Runtime\": \"nvidia\", \"DeviceRequests\": [{\"DeviceIDs\": "
	     "[\"0\"]}]}, " ENV("1"),
	     "0", false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"nvidia\"}, " ENV("1,0"), "1,0",
	     false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"nvidia\"}, " ENV("all"), NULL,
	     true},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"nvidia\"}, " ENV("0, all"), NULL,
	     true},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"nvidia\"}, " ENV("none,all"), NULL,
	     false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"nvidia\"}, " ENV("all,void"), NULL,
	     false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"nvidia\"}, " ENV("GPU-all,1"),
	     "GPU-all,1", false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"nvidia\"}, " ENV("void"), NULL,
	     false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"runc\"}, " ENV("all"), NULL, false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"Runtime\": \"runc\"}, " ENV("1"), NULL, false},
	    {CONTAINER_PODMAN, "\"HostConfig\": {\"Runtime\": \"oci\"}, " ENV("1"), "1", false},
	    {CONTAINER_PODMAN, "\"HostConfig\": {\"Runtime\": \"oci\"}, " ENV("all"), NULL, false},
	    /* podman: the name in the command, else the nodes it stood for */
	    {CONTAINER_PODMAN,
	     "\"HostConfig\": {\"Devices\": [{\"PathOnHost\": \"/dev/nvidia1\"}]}, \"Config\": {"
	     "\"CreateCommand\": [\"podman\", \"run\", \"--device\", \"nvidia.com/gpu=1\","
	     " \"--device=nvidia.com/gpu=0:1\", \"--device\", \"/dev/dri\", \"image\", \"a/b=c\"]}",
	     "nvidia.com/gpu=1,nvidia.com/gpu=0:1", false},
	    {CONTAINER_PODMAN,
	     "\"HostConfig\": {\"Devices\": [{\"PathOnHost\": \"/dev/nvidiactl\"},"
	     " {\"PathOnHost\": \"/dev/nvidia1\"}, {\"PathOnHost\": \"/dev/null\"}]}",
	     "/dev/nvidia1", false},
	    {CONTAINER_DOCKER,
	     "\"HostConfig\": {\"DeviceRequests\": [5, {\"DeviceIDs\": [6, \"a\\nb\"]}]}", NULL,
	     false},
	    {CONTAINER_DOCKER, "\"HostConfig\": {\"DeviceRequests\": {\"Count\": -1}}", NULL,
	     false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *text = mem_printf("{\"Id\": \"" ID "\", %s}", cases[i].text);
		auto_json json_t *json = parsed(text);
		struct container c = {};

		assert_int_equal(container_parse_inspect(json, cases[i].kind, &c, NULL), 0);
		if ((c.devices == NULL) != (cases[i].devices == NULL) ||
		    (c.devices && strcmp(c.devices, cases[i].devices) != 0) ||
		    c.all_devices != cases[i].all)
			fail_msg("%s: %s, all %d", text, c.devices ? c.devices : "none",
				 c.all_devices);
		container_finish(&c);
	}
}

static void a_container_has_an_id(void **state)
{
	auto_json json_t *json = parsed("{\"Id\": \"x\"}");
	struct container c;
	struct error err = {};

	assert_int_equal(container_parse_inspect(json, CONTAINER_DOCKER, &c, &err), -EPROTO);
	assert_int_equal(container_parse_inspect(NULL, CONTAINER_DOCKER, &c, &err), -EPROTO);
}

#define LOGS(bytes) bytes, sizeof bytes - 1

static void logs_are_frames_or_plain(void **state)
{
	static const struct {
		const char *data;
		size_t len;
		const char *text;
	} cases[] = {
	    {LOGS("\1\0\0\0\0\0\0\3ab\n\2\0\0\0\0\0\0\2c\n"), "ab\nc\n"},
	    {LOGS("plain\r\ntext\n"), "plain\ntext\n"},
	    {LOGS("\1\0\0\0\xff\xff\xff\xff"
		  "cut"),
	     "cut"},
	    {LOGS("\1\0\0\0\0\0\0\5\33[2Jx"), "?[2Jx"},
	    {LOGS("\1\0\0"), "???"},
	    {LOGS("\1\0\0\0\0\0\0\0"), ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_text struct text text = {};

		container_parse_logs(cases[i].data, cases[i].len, &text);
		assert_string_equal(text.data ? text.data : "", cases[i].text);
	}
}

static void errors_say_what_they_say(void **state)
{
	static const char text[] = "{\"message\":\"No such container: x\"}";
	char message[32];

	container_parse_error(text, sizeof text - 1, message, sizeof message);
	assert_string_equal(message, "No such container: x");
	container_parse_error("[]", 2, message, sizeof message);
	assert_string_equal(message, "");
	container_parse_error(NULL, 0, message, sizeof message);
	assert_string_equal(message, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kinds_are_told_apart),
	    cmocka_unit_test(headers_tell_them_apart_too),
	    cmocka_unit_test(a_list_has_names_and_labels),
	    cmocka_unit_test(a_list_is_a_list),
	    cmocka_unit_test(how_a_container_is),
	    cmocka_unit_test(what_a_container_was_given),
	    cmocka_unit_test(a_container_has_an_id),
	    cmocka_unit_test(logs_are_frames_or_plain),
	    cmocka_unit_test(errors_say_what_they_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
