# Signalbox: the commands of every day. `make` alone lists them.
#
# Each target first checks the programs of the machine, which takes a moment when they are there;
# as root on Debian what is missing is installed, elsewhere it is named.

SHELL := /bin/sh
# Where rustup puts cargo, for shells that were not told.
export PATH := $(HOME)/.cargo/bin:$(PATH)

TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO := cargo
# Of chaos: payouts and faults at least, the seed of every choice, cases per second.
PAYOUTS ?= 10000
FAULTS ?= 50
SEED ?= 1
RATE ?= 15
# Of tests: what chance draws from.
FUZZ_SEED ?= 20261129
# Of simulations: how many seeds from SEED on.
SEEDS ?= 10000

.DEFAULT_GOAL := help
.PHONY: help prerequisites demo dev test check catalog chaos upgrade model simulate planted fuzz bench bench-peers clean

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

prerequisites:
	@sh deploy/local/prerequisites.sh build

demo: prerequisites ## Real payouts on real parts, one engine killed on the way; prints a summary
	$(CARGO) build --workspace --bins
	$(TARGET)/debug/signalbox demo

dev: prerequisites ## Start the whole system locally and keep it running to play with
	$(CARGO) build --workspace --bins
	$(TARGET)/debug/signalbox dev

# Input surfaces are tried with the same edits in every run; another FUZZ_SEED tries others.
# The tests with real parts start the binary, which lies beside them. It is built together with the tests, so that
# dependencies are resolved and compiled once.
test: prerequisites ## Run all tests, those with real parts included
	$(CARGO) build --workspace --all-targets
	BOLERO_RANDOM_SEED=$(FUZZ_SEED) $(CARGO) test --workspace

check: prerequisites ## Formatting, lints, licences and advisories, then all tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny check; \
	else \
		echo 'make check: SKIPPED licences and advisories; cargo install --locked cargo-deny brings them'; \
	fi
	@$(MAKE) --no-print-directory test

catalog: prerequisites ## Write docs/catalog.md again, after a change to topics.yaml or schemas
	$(CARGO) build --quiet --workspace --bins
	$(TARGET)/debug/signalbox topics export catalog > $(TARGET)/catalog.md
	cp $(TARGET)/catalog.md docs/catalog.md

# Disks that can be filled are mounted in a namespace of the run's own, where that is allowed.
chaos: prerequisites ## Break every part under load and judge the rest; PAYOUTS=10000 FAULTS=50 SEED=1 RATE=15
	$(CARGO) build --workspace --bins
	@if unshare --mount true 2>/dev/null; then in='unshare --mount --'; disks=disks=own; fi; \
	$$in $(TARGET)/debug/chaos payouts=$(PAYOUTS) faults=$(FAULTS) seed=$(SEED) rate=$(RATE) $$disks

upgrade: prerequisites ## Replace the release before by this one under load, with both running
	sh deploy/upgrade/build-previous.sh $(TARGET)
	$(CARGO) build --workspace --all-targets
	SIGNALBOX_PREVIOUS_PROGRAM=$(abspath $(TARGET)/upgrade/signalbox) \
		$(CARGO) test -p integration-tests --test real_parts -- the_program_is_upgraded

model: prerequisites ## Explore the protocol as models, far, and show that each rule is needed; prints a table
	$(CARGO) run --release --package signalbox-model --bin model

simulate: prerequisites ## Simulate many seeds of every story; SEEDS=100000 sets how many, SEED=1 with which to begin
	SIMULATION_SEED=$(SEED) SIMULATION_SEEDS=$(SEEDS) $(CARGO) test --release --workspace --test simulation -- \
		whatever_the_seed_every_story_holds --nocapture

planted: prerequisites ## Plant one bug after the other and see that the simulation finds each; prints a table
	SEEDS=$(SEEDS) sh integration-tests/planted/run.sh $(TARGET)

fuzz: prerequisites ## Search every input surface guided by coverage; SECONDS_EACH=60, what is found is kept
	SECONDS_EACH=$(SECONDS_EACH) sh integration-tests/fuzz/run.sh $(TARGET)

bench: prerequisites ## Measure throughput and latency; FLOWS=100000 sets the number of flows
	$(CARGO) build --release --bins
	$(TARGET)/release/signalbox bench --flows $(or $(FLOWS),100000) --json

# What peers need is built and installed apart. SIGNALBOX_BIN names a release build that is there already.
bench-peers: ## Measure Restate and a consumer written by hand beside us; FLOWS=20000 sets the number of flows
	@sh deploy/local/prerequisites.sh peers
	@[ -n "$(SIGNALBOX_BIN)" ] || $(CARGO) build --release --bins
	$(CARGO) build --release --locked --manifest-path integration-tests/peers/Cargo.toml --target-dir $(TARGET)/peers
	@mkdir -p .local/peers && cp deploy/peers/package.json deploy/peers/package-lock.json .local/peers/
	npm ci --prefix .local/peers --ignore-scripts --no-audit --no-fund
	python3 deploy/peers/bench.py --flows $(or $(FLOWS),20000) \
		--signalbox $(or $(SIGNALBOX_BIN),$(TARGET)/release/signalbox) \
		--peers $(TARGET)/peers/release/signalbox-peers \
		--restate-server .local/peers/node_modules/@restatedev/restate-server-*/bin/restate-server

clean: ## Remove everything that was built or downloaded here
	$(CARGO) clean
	rm -rf .local
