/*
 * See libhide.h. The dynamic linker skips a symbol whose value is 0 and whose section is SHN_UNDEF,
 * so marking the entries of .dynsym is enough; the hash tables may stay as they are.
 */
#include "sim/libhide.h"

#include "util/file.h"
#include "util/size.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY_MAX (64 * MIB)

struct symbols {
	Elf64_Sym *entries;
	size_t n;
	const char *names;
	size_t names_size;
};

static bool fits(const struct text *image, uint64_t offset, uint64_t size)
{
	return offset <= image->len && size <= image->len - offset;
}

static int find_symbols(const struct text *image, struct symbols *ret_symbols)
{
	const Elf64_Ehdr *head = (const void *)image->data;
	const Elf64_Shdr *sections, *strings;

	if (image->len < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
	    head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_shentsize != sizeof *sections ||
	    !fits(image, head->e_shoff, (uint64_t)head->e_shnum * sizeof *sections))
		return -ENOEXEC;
	sections = (const void *)(image->data + head->e_shoff);
	for (unsigned i = 0; i < head->e_shnum; i++) {
		if (sections[i].sh_type != SHT_DYNSYM)
			continue;
		if (sections[i].sh_link >= head->e_shnum)
			return -ENOEXEC;
		strings = &sections[sections[i].sh_link];
		if (!fits(image, sections[i].sh_offset, sections[i].sh_size) ||
		    !fits(image, strings->sh_offset, strings->sh_size) || strings->sh_size == 0)
			return -ENOEXEC;
		*ret_symbols =
		    (struct symbols){.entries = (void *)(image->data + sections[i].sh_offset),
				     .n = sections[i].sh_size / sizeof(Elf64_Sym),
				     .names = image->data + strings->sh_offset,
				     .names_size = strings->sh_size};
		return ret_symbols->names[strings->sh_size - 1] == '\0' ? 0 : -ENOEXEC;
	}
	return -ENOEXEC;
}

static unsigned hide(struct symbols *symbols, const char *pattern)
{
	unsigned hidden = 0;

	for (size_t i = 0; i < symbols->n; i++) {
		Elf64_Sym *symbol = &symbols->entries[i];

		if (symbol->st_name >= symbols->names_size ||
		    fnmatch(pattern, symbols->names + symbol->st_name, 0) != 0)
			continue;
		symbol->st_shndx = SHN_UNDEF;
		symbol->st_value = 0;
		hidden++;
	}
	return hidden;
}

int libhide_copy(const char *from, const char *to, const char (*patterns)[64], unsigned n,
		 struct error *err)
{
	auto_text struct text image = {};
	auto_close int fd = -1;
	struct symbols symbols;
	int r = file_read(from, LIBRARY_MAX, false, &image, err);

	if (r < 0)
		return r;
	r = find_symbols(&image, &symbols);
	if (r < 0)
		return error_set(err, r, "%s is not a 64-bit shared library", from);
	for (unsigned i = 0; i < n; i++)
		if (hide(&symbols, patterns[i]) == 0)
			return error_set(err, -ENOENT,
					 "missing_symbols: no function matches \"%s\"",
					 patterns[i]);
	fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	if (fd < 0)
		return error_sys(err, -errno, "cannot create %s", to);
	r = fd_write_all(fd, image.data, image.len);
	return r < 0 ? error_sys(err, r, "cannot write %s", to) : 0;
}
