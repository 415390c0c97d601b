# A thin door to scripts/ and CMake; `make help` lists what it can do.
PRESET := release
BUILD := build
JOBS := $(shell nproc)

.DEFAULT_GOAL := help
.PHONY: help setup configure build demo results test check format

help:
	@echo 'make setup   install what is missing (says what and why)'
	@echo 'make build   setup, then build everything into $(BUILD)/'
	@echo 'make demo    setup, build the program, compare attention variants on block finding'
	@echo 'make results make the tables and pictures of results/ from its reports'
	@echo 'make test    setup, build everything, run all tests that need no GPU'
	@echo 'make check   check format and lint'
	@echo 'make format  format the code'

setup:
	@scripts/setup

# A configured tree configures itself again when a CMake file changes.
configure: setup
	@test -e $(BUILD)/build.ninja || cmake --preset $(PRESET)

build: configure
	@ninja -C $(BUILD) -j $(JOBS)

demo: configure
	@ninja -C $(BUILD) -j $(JOBS) mta
	@scripts/demo

results: configure
	@ninja -C $(BUILD) -j $(JOBS) mta
	@scripts/results

test: build
	@scripts/setup --test
	@ctest --preset $(PRESET) -j $(JOBS)

check:
	@scripts/setup --check
	@$(MAKE) --no-print-directory configure
	@scripts/check

format:
	@scripts/setup --check
	@scripts/check --fix
