# What can be built and tested here. "make help" lists it.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOFLAGS_STATIC := CGO_ENABLED=0

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build ./naru, one static binary
	$(GOFLAGS_STATIC) go build -trimpath -ldflags '$(LDFLAGS)' -o naru ./cmd/naru

.PHONY: test
test: ## run all tests, with the peers they compare with (installs those)
	.ci/peers
	TEST_REQUIRE_PEERS=1 .ci/test

.PHONY: check
check: ## gofmt, vet, staticcheck, imports, quick tests with -race
	.ci/lint
	go test -race -short ./...

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME (default 1m)
	.ci/fuzz $${FUZZTIME:-1m}

.PHONY: e2e
e2e: ## conversation scripts and real clients against the real binary, Mosquitto and RabbitMQ
	go test -count=1 ./cmd/naru/e2e/...

.PHONY: crash
crash: ## cut the power thousands of times (CUTS, default 5000)
	TEST_CUTS=$${CUTS:-5000} go test -count=1 -timeout 2h -run 'TestCrash|TestKill' ./...

.PHONY: mutants
mutants: ## break the engine in seeded ways; every one must turn a test red
	.ci/mutants

.PHONY: bench
bench: ## the figures of docs/benchmarks.md (takes some minutes)
	.ci/bench

.PHONY: docs
docs: ## regenerate the generated parts of the documentation
	go test ./cmd/naru ./cmd/naru/e2e ./cmd/naru/e2e/amqp -run 'TestDocs|TestReport' -update

.PHONY: deb
deb: ## build a Debian package for this machine (ARCH=arm64 for another) in dist/
	docs/packaging/deb $(ARCH)

.PHONY: dist
dist: ## build archives and Debian packages for every platform in dist/
	docs/packaging/dist

.PHONY: cross
cross: ## build for every supported platform
	.ci/cross
