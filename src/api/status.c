/*
 * Errors on the wire. One table both ways: the server turns a negative errno into a status and a
 * name, the client turns them into the errno again, so that a caller of the client sees the very
 * code the daemon's function returned.
 */
#include "api/server.h"

#include <errno.h>
#include <string.h>

static const struct status_row {
	int code;
	unsigned status;
	const char *name;
} STATUS_ROWS[] = {
    {-EINVAL, 400, "invalid"},          {-EBADMSG, 400, "bad-json"}, {-EPERM, 403, "forbidden"},
    {-EACCES, 403, "access"},           {-ENOENT, 404, "not-found"}, {-ENOTSUP, 405, "method"},
    {-ETIMEDOUT, 408, "timeout"},       {-EBUSY, 409, "conflict"},   {-EALREADY, 409, "already"},
    {-EMSGSIZE, 413, "body-too-large"}, {-E2BIG, 422, "too-large"},  {-ENODEV, 422, "no-gpu"},
    {-EUSERS, 429, "too-many"},         {-EIO, 503, "unavailable"},  {-ENOSPC, 503, "no-space"},
    {-EROFS, 503, "read-only"},
};

unsigned api_status_of(int code, const char **ret_name)
{
	for (size_t i = 0; i < ARRAY_LEN(STATUS_ROWS); i++)
		if (STATUS_ROWS[i].code == code) {
			*ret_name = STATUS_ROWS[i].name;
			return STATUS_ROWS[i].status;
		}
	*ret_name = "internal";
	return 500;
}

int api_code_of(unsigned status, const char *name)
{
	for (size_t i = 0; name && i < ARRAY_LEN(STATUS_ROWS); i++)
		if (strcmp(STATUS_ROWS[i].name, name) == 0)
			return STATUS_ROWS[i].code;
	for (size_t i = 0; i < ARRAY_LEN(STATUS_ROWS); i++)
		if (STATUS_ROWS[i].status == status)
			return STATUS_ROWS[i].code;
	return -EPROTO;
}
