/* See distro.h. What is not known gets the words of it instead of a guess. */
#include "doctor/distro.h"

#include <string.h>

enum family { FAMILY_OTHER, FAMILY_UBUNTU, FAMILY_DEBIAN, FAMILY_FEDORA, FAMILY_ARCH, FAMILY_SUSE };

static bool has_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = words; (p = strstr(p, word)); p += len)
		if ((p == words || !strchr("abcdefghijklmnopqrstuvwxyz-", p[-1])) &&
		    !strchr("abcdefghijklmnopqrstuvwxyz-", p[len] ? p[len] : ' '))
			return true;
	return false;
}

static enum family family_of(const struct machine *machine)
{
	static const struct {
		const char *word;
		enum family family;
	} words[] = {
	    {"ubuntu", FAMILY_UBUNTU}, {"debian", FAMILY_DEBIAN}, {"fedora", FAMILY_FEDORA},
	    {"rhel", FAMILY_FEDORA},   {"arch", FAMILY_ARCH},     {"suse", FAMILY_SUSE},
	};
	auto_free char *text = NULL;
	auto_text struct text ids = {};
	char *rest;

	if (root_read(machine->root, "/etc/os-release", &text) < 0)
		return FAMILY_OTHER;
	rest = text;
	for (char *line; (line = strsep(&rest, "\n"));)
		if (text_starts_with(line, "ID=") || text_starts_with(line, "ID_LIKE="))
			text_printf(&ids, "%s ", strchr(line, '=') + 1);
	for (size_t i = 0; ids.data && i < ARRAY_LEN(words); i++)
		if (has_word(ids.data, words[i].word))
			return words[i].family;
	return FAMILY_OTHER;
}

void distro_fix_headers(const struct machine *machine, struct doctor_result *result)
{
	switch (family_of(machine)) {
	case FAMILY_UBUNTU:
	case FAMILY_DEBIAN:
		doctor_fix(result, "sudo apt install linux-headers-%s", machine->release);
		break;
	case FAMILY_FEDORA:
		doctor_fix(result, "sudo dnf install kernel-devel-%s", machine->release);
		break;
	case FAMILY_ARCH:
		doctor_fix(result, "sudo pacman -S linux-headers");
		break;
	case FAMILY_SUSE:
		doctor_fix(result, "sudo zypper install kernel-default-devel");
		break;
	case FAMILY_OTHER:
		doctor_fix(result, "# install the kernel headers of %s", machine->release);
		break;
	}
}

void distro_fix_driver(const struct machine *machine, struct doctor_result *result)
{
	switch (family_of(machine)) {
	case FAMILY_UBUNTU:
		doctor_fix(result, "sudo ubuntu-drivers install");
		break;
	case FAMILY_DEBIAN:
		doctor_fix(result, "# with the component non-free in /etc/apt/sources.list:");
		doctor_fix(result, "sudo apt install nvidia-driver firmware-misc-nonfree");
		break;
	case FAMILY_FEDORA:
		doctor_fix(result, "# with RPM Fusion or NVIDIA's repository enabled:");
		doctor_fix(result, "sudo dnf install akmod-nvidia xorg-x11-drv-nvidia-cuda");
		break;
	case FAMILY_ARCH:
		doctor_fix(result, "sudo pacman -S nvidia-open nvidia-utils");
		break;
	case FAMILY_SUSE:
		doctor_fix(result, "sudo zypper install-new-recommends --repo NVIDIA");
		break;
	case FAMILY_OTHER:
		doctor_fix(result, "# install the NVIDIA driver as your distribution has it");
		break;
	}
}

void distro_fix_compute(const struct machine *machine, unsigned branch,
			struct doctor_result *result)
{
	switch (family_of(machine)) {
	case FAMILY_UBUNTU:
		doctor_fix(result, "sudo apt install libnvidia-compute-%u nvidia-utils-%u", branch,
			   branch);
		break;
	case FAMILY_DEBIAN:
		doctor_fix(result, "sudo apt install libcuda1 libnvidia-ml1");
		break;
	case FAMILY_FEDORA:
		doctor_fix(result, "sudo dnf install xorg-x11-drv-nvidia-cuda");
		break;
	case FAMILY_ARCH:
		doctor_fix(result, "sudo pacman -S nvidia-utils");
		break;
	case FAMILY_SUSE:
	case FAMILY_OTHER:
		doctor_fix(result,
			   "# install the driver's CUDA and management libraries, of branch %u",
			   branch);
		break;
	}
}

void distro_fix_initramfs(const struct machine *machine, struct doctor_result *result)
{
	switch (family_of(machine)) {
	case FAMILY_UBUNTU:
	case FAMILY_DEBIAN:
		doctor_fix(result, "sudo update-initramfs -u");
		break;
	case FAMILY_FEDORA:
	case FAMILY_SUSE:
		doctor_fix(result, "sudo dracut --force");
		break;
	case FAMILY_ARCH:
		doctor_fix(result, "sudo mkinitcpio -P");
		break;
	case FAMILY_OTHER:
		break;
	}
}

#define TOOLKIT_REPO "https://nvidia.github.io/libnvidia-container"

void distro_fix_toolkit(const struct machine *machine, struct doctor_result *result)
{
	static const char keyring[] = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg";

	switch (family_of(machine)) {
	case FAMILY_UBUNTU:
	case FAMILY_DEBIAN:
		doctor_fix(result, "# NVIDIA's repository, when apt does not have it yet:");
		doctor_fix(result, "curl -fsSL " TOOLKIT_REPO "/gpgkey | sudo gpg --dearmor -o %s",
			   keyring);
		doctor_fix(result,
			   "curl -fsSL " TOOLKIT_REPO "/stable/deb/nvidia-container-toolkit.list | "
			   "sed 's#deb https://#deb [signed-by=%s] https://#' | sudo tee "
			   "/etc/apt/sources.list.d/nvidia-container-toolkit.list",
			   keyring);
		doctor_fix(result, "sudo apt update && sudo apt install nvidia-container-toolkit");
		break;
	case FAMILY_FEDORA:
		doctor_fix(result, "curl -fsSL " TOOLKIT_REPO
				   "/stable/rpm/nvidia-container-toolkit.repo | sudo tee "
				   "/etc/yum.repos.d/nvidia-container-toolkit.repo");
		doctor_fix(result, "sudo dnf install nvidia-container-toolkit");
		break;
	case FAMILY_ARCH:
		doctor_fix(result, "sudo pacman -S nvidia-container-toolkit");
		break;
	case FAMILY_SUSE:
		doctor_fix(result, "sudo zypper ar " TOOLKIT_REPO
				   "/stable/rpm/nvidia-container-toolkit.repo");
		doctor_fix(result, "sudo zypper install nvidia-container-toolkit");
		break;
	case FAMILY_OTHER:
		doctor_fix(result, "# install nvidia-container-toolkit, 1.17.8 or newer");
		break;
	}
}
