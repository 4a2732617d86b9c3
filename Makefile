# The front door. Meson and ninja do the building; this file only names what one can ask for.
#
#	make deps	install what is missing from Debian's packages (root or sudo)
#	make		build into build/
#	make demo	install, build and run a batch on this machine's GPUs, or on two simulated ones
#	make test	every test: unit, fuzz corpora, end to end, and again under ASan and UBSan
#	make lint	formatting, include arrows, purity, warnings of gcc and clang, docs
#	make bench	the measurements; make fuzz SECONDS=60: each fuzz target for that long
#	make soak	the long ones: 2,000 tasks under 240 kills, power cuts, fuzzing, the tests five times over
#	make install	into PREFIX (default /usr/local), honours DESTDIR
#
# On a machine without make, `./make demo` does the same (it installs make first).

BUILD   := build
PREFIX  := /usr/local
SECONDS := 60

.PHONY: all deps demo test lint bench asan fuzz soak install clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	sh tools/deps.sh build
	meson setup $(BUILD) --prefix $(PREFIX)

deps:
	sh tools/deps.sh build test lint

demo:
	sh tools/demo.sh

test:
	bash tools/test.sh

lint:
	bash tools/lint.sh

bench: all
	sh tools/deps.sh test bench || echo "make bench: goes on with the tools that are there"
	meson test -C $(BUILD) --benchmark --verbose --num-processes 1

asan:
	bash tools/test.sh asan

fuzz:
	SECONDS_EACH=$(SECONDS) bash tools/fuzz.sh

soak:
	bash tools/soak.sh

install: all
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-asan build-clang build-fuzz
