# Every recipe works from a bare checkout on Debian 12 or newer with Rust; nothing needs to be run before it.
# `make` lists them.

SHELL := /bin/sh
# Containers, cgroups, interfaces and mounts need root; without it sudo asks, for what the recipe prints.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
CREST := target/$(shell rustc -vV | sed -n 's/^host: //p')/release/crest
CARGO_BUILD_JOBS ?= $(shell nproc)
export CARGO_BUILD_JOBS

.PHONY: help
help: ## List the recipes
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: up
up: build ## Start a one-machine cluster in the background (asks sudo for containers, cgroups, network)
	@$(SUDO) $(CREST) up

.PHONY: down
down: build ## Stop the cluster and remove every trace of it but its state under /var/lib/crest
	@$(SUDO) $(CREST) down

.PHONY: demo
demo: up packages-demo ## Measure a service alone, beside plain batch, and beside batch through Crest
	@$(SUDO) $(CREST) demo

.PHONY: build
build: packages ## Build the release binary
	cargo build --release --locked --package crest

.PHONY: test
test: packages packages-test ## Run all tests (asks sudo: most of them start real containers)
	cargo build --locked --workspace --all-targets
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" "CARGO_BUILD_JOBS=$(CARGO_BUILD_JOBS)" cargo test --locked --workspace --no-fail-fast

.PHONY: check
check: packages ## What a change must pass before it is pushed: format, lints, house rules
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	cargo xtask tidy
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and sources not checked (cargo install cargo-deny)"; fi

.PHONY: bench
bench: packages packages-test packages-bench ## Run the benchmarks; each prints its figure beside a peer or a limit
	cargo build --release --locked --package bench --package crest
	@sh bench/run.sh

.PHONY: clients-quick
clients-quick: packages packages-test ## Run those suites of other people's clients that take a few minutes
	cargo build --locked --workspace --bin crest
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" sh scripts/clients.sh $(subst /release/,/debug/,$(CREST)) kr8s python

.PHONY: clients
clients: build packages-test packages-demo ## Run the own test suites of other people's clients, each against a cluster of its own
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" sh scripts/clients.sh $(CREST) kr8s python kube-rs kopf spark

.PHONY: fuzz
fuzz: packages ## Feed bad input to every parser and handler, ten minutes each; SECONDS=60 for one
	cargo run --release --locked --package fuzz -- --seconds $(or $(SECONDS),600)

.PHONY: packages packages-test packages-demo packages-bench
packages:
	@sh scripts/packages.sh build run
packages-test:
	@sh scripts/packages.sh test
packages-demo:
	@sh scripts/packages.sh demo

packages-bench:
	@sh scripts/packages.sh bench
