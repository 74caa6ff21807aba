# `make help` lists the targets. Settings: PROFILE=release, COORD_HOME=DIR.
#
# The development profile is what the tests build as well, so nothing is compiled
# twice; a call's time is spent in PostgreSQL, not in coord.
PROFILE ?= dev
CARGO ?= cargo
coord = $(CARGO) run --quiet --profile $(PROFILE) --

.DEFAULT_GOAL := help
.PHONY: help up down status demo test test-sql test-clients lint migrate migrate-info same-schema bench guard-score clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; \
	  do printf '  make %-14s %s\n' "$$name" "$$what"; done

up: ## install what is missing, build, start the stack in the background
	@.ci/setup up
	@$(CARGO) build --profile $(PROFILE)
	@$(coord) up --detach

down: ## stop the stack; its data stays
	@$(coord) down

status: ## what runs, and where
	@$(coord) status

demo: ## two agents, one file: a guided tour on a throw-away stack
	@.ci/setup up
	@$(CARGO) build --profile $(PROFILE)
	@$(coord) demo

test: ## everything: lints, SQL, Rust, end to end; installs what it needs
	@.ci/test

test-sql: ## the SQL tests alone (Docker where an engine answers, else locally)
	@.ci/setup test
	@sql-tests/run

test-clients: ## the real Claude Code, Codex and Aider with our hooks, against a scripted model (downloads them)
	@.ci/setup up
	@$(CARGO) build --profile $(PROFILE)
	@. .ci/lib.sh && COORD_TEST_CACHE=$$cache/tests tests/agents/run target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/coord

lint: ## formatting, clippy, squawk, the catalog's rules, plpgsql_check, compose
	@.ci/setup test
	@.ci/lint
	@sql-tests/run contract

migrate: ## apply the migrations to the running stack with sqlx-cli (built on first use)
	@.ci/sqlx migrate run

migrate-info: ## what sqlx-cli thinks of the running stack's migrations
	@.ci/sqlx migrate info

same-schema: ## compare what psql, sqlx-cli and the Supabase CLI make of the migrations
	@.ci/setup test
	@sql-tests/same-schema

bench: ## the lock path side by side (bare SQL to MCP), with 100,000 live locks; the queue beside others; how recall finds
	@.ci/setup bench
	@benches/run

guard-score: ## recall and precision of the guardrails on GUARD_CORPUS, in the database that PG* names
	@python3 benches/guard_score.py --times

clean: ## remove what was built (the stack's data and the cache stay)
	@$(CARGO) clean
