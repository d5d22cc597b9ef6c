# `make run` shows Millrace at work, `make test` checks everything. Both set up what is missing first.
.DEFAULT_GOAL := help
.PHONY: help run test chaos setup setup-run build lint fmt manifests deny

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run build ## Carry a sample spec to a verified release and leave everything running
	@target/debug/millrace dev --example examples/storefront

test: setup ## Run every check and test (what CI runs)
	@scripts/test.sh

chaos: setup ## Cut power, fill disks, flip bits, flood (needs root; half an hour)
	@scripts/chaos.sh

setup: ## Install what building, running and testing need
	@scripts/setup.sh test

setup-run: ## Install what `make run` needs
	@scripts/setup.sh run

# The development profile: half the build time of a release, and a first run waits for git, not for the CPU.
build: ## Build the millrace binary
	cargo build --locked --package millrace

lint: ## Formatting and lints, warnings refused
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

fmt: ## Format the code
	cargo fmt --all

manifests: setup ## Check the Kubernetes manifests
	@scripts/check_manifests.sh

deny: ## Check licences, bans and sources of dependencies
	@scripts/check_dependencies.sh
