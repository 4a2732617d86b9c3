/* See json.h. */
#include "host/json.h"

json_t *host_info_to_json(const struct host_info *info)
{
	uint64_t total = 0, available = 0;
	double cpus = 0;
	const bool total_known = host_ram_total(info, &total);
	const bool available_known = host_ram_available(info, &available);
	const bool cpus_known = host_cpus(info, &cpus);
	json_t *json = json_object();

	(void)json_object_set_new(json, "ram_total_bytes", jsonx_u64_if(total_known, total));
	(void)json_object_set_new(json, "ram_available_bytes",
				  jsonx_u64_if(available_known, available));
	(void)json_object_set_new(json, "cpus", jsonx_real_if(cpus_known, cpus, 2));
	return json;
}
