/* Telling the service manager that started us how it stands, sd_notify(3)'s protocol: a datagram to
 * the socket $NOTIFY_SOCKET names. Does nothing without one. */
#pragma once

/* READY=1. Whom we start later is not to say it: the variable is gone afterwards. */
void notify_ready(void);
