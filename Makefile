# make alone lists the targets.
GO ?= go
FUZZTIME ?= 10s

.DEFAULT_GOAL := help
.PHONY: help deps build check test race fuzz bench bench-live bench-short bench-compare bench-baseline bench-readme bench-growth pgo verify crash slurm demo pictures pictures-tui clean

# What is compiled to be checked need not be fast: it takes half a minute less without cmd/schedlab/default.pgo.
check test race fuzz crash: export GOFLAGS += -pgo=off

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## fetch the modules, build the tools that check uses, and get tmux, in which the terminal UI is tested
	$(GO) mod download
	$(GO) build -o bin/ honnef.co/go/tools/cmd/staticcheck mvdan.cc/gofumpt
	@command -v tmux >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends tmux >/dev/null; } || \
		echo "tmux is not here and cannot be installed: the tests that type into a terminal are skipped"

build: ## build bin/schedlab
	$(GO) build -trimpath -o bin/schedlab ./cmd/schedlab

check: deps ## format, vet, staticcheck, tidy modules, import floors, the README's commands
	@out=$$(bin/gofumpt -l .); if [ -n "$$out" ]; then echo "not formatted (bin/gofumpt -w .):"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags invariants ./...
	$(GO) vet -tags failpoints ./live/... ./cmd/...
	CGO_ENABLED=0 $(GO) vet ./...
	bin/staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) mod verify
	$(GO) test -run 'Imports|Floor|Readme' ./cmd/schedlab

test: ## all tests, the kernel counting its books again after every step, and without that those that count allocations
	$(GO) test -tags invariants ./...
	$(GO) test -run AllocatesNothing ./policies

race: ## all tests under the race detector
	$(GO) test -race ./...

fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; done; done

bench: ## speed and memory against their budgets (10 minutes)
	$(GO) run ./benchmarks/speed

bench-live: build ## the live daemon under load, beside task-spooler and Slurm where installed (4 minutes)
	$(GO) run ./benchmarks/live

bench-short: ## the same with fewer tasks; fails beyond 1.25 x of a budget
	$(GO) run ./benchmarks/speed -short

bench-compare: ## make bench, and benchstat against benchmarks/baseline
	@mkdir -p out; rm -f out/bench.txt
	$(GO) run ./benchmarks/speed -runs 6 -gobench out/bench.txt || test -s out/bench.txt
	$(GO) tool benchstat benchmarks/baseline/bench.txt out/bench.txt

bench-baseline: ## make bench, kept as the baseline
	@mkdir -p benchmarks/baseline; rm -f benchmarks/baseline/bench.txt
	$(GO) run ./benchmarks/speed -runs 6 -gobench benchmarks/baseline/bench.txt || test -s benchmarks/baseline/bench.txt

bench-readme: ## make bench, and its table into benchmarks/README.md
	$(GO) run ./benchmarks/speed -readme benchmarks/README.md

bench-growth: ## the cost of a task from 1e4 to 1e7 of them, drawn (5 minutes)
	$(GO) run ./benchmarks/speed -growth benchmarks/pictures

pgo: ## measure again what is hot, by which the compiler makes schedlab fast (7 minutes)
	$(GO) run ./benchmarks/speed -pgo cmd/schedlab/default.pgo

verify: build ## compare with published results (needs the references; 15 minutes)
	bin/schedlab verify

crash: ## kill the live daemon at every named place, then 1000 times at random
	CRASH_KILLS=1000 $(GO) test -v -count=1 -timeout 60m -run 'TestNothingIsLost|TestTheJudge' ./live

slurm: build ## a sweep as a Slurm job array (skips without slurm-wlm, munge)
	benchmarks/cluster/slurm-test.sh

demo: build ## compare three policies on the built-in example; plots in out/
	bin/schedlab compare --out out

pictures: build ## draw the README's pictures again
	bin/schedlab compare --policies fifo,rr,sjf,easy,critical-path --out out >/dev/null
	cp out/wait-cdf.png out/gantt-critical-path.png benchmarks/pictures/
	$(GO) run ./benchmarks/failures -out benchmarks/pictures ../shared/traces/gpu/philly/philly.csv.gz

pictures-tui: ## draw the README's frames of the terminal UI again
	SCHEDLAB_PICTURES=$(CURDIR)/benchmarks/pictures $(GO) test -count=1 -run TestPicturesOfTheTerminalUI ./cmd/schedlab

clean: ## remove what the other targets made
	rm -rf bin out
