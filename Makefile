# make test   formatting, vet, staticcheck and all tests with the race detector,
#             on real Redis servers; installs redis-server where it is missing
#             and it may
# make bench  the table of `beck bench` on disk and on a Redis of its own
# make show   what is promised, shown on running systems, in full: processes over
#             Redis and a server on disk, some of which are killed; five minutes
# make torture  real servers and processes under load and faults, and a checker that
#             decides: DEPLOYMENT (redis, disk, sentinel, cluster, sentinel-written; all
#             if empty), DURATION of each (10m), SEED (by chance), OUT (torture-out),
#             SPARE=1 for no fault that destroys messages; see docs/torture.md
# make build  bin/beck

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

DURATION ?= 10m
DEPLOYMENT ?=
SEED ?=
OUT ?= torture-out
SPARE ?=

.PHONY: test check redis bench show torture build

test: redis check
	@if command -v redis-server >/dev/null; then export BECK_TEST_REDIS=require; fi; \
	go test -race -timeout 15m ./...

check:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "gofmt these files:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

redis:
	@.ci/redis

bench: build
	bench/run

show:
	BECK_SHOW=full go test -count=1 -timeout 30m -v ./internal/acceptance

torture:
	@mkdir -p $(OUT)
	BECK_TORTURE_DURATION=$(DURATION) BECK_TORTURE_SEED=$(SEED) BECK_TORTURE_DIR=$(abspath $(OUT)) BECK_TORTURE_SPARE=$(SPARE) \
	go test -count=1 -timeout 0 -parallel 1 -v -run 'TestTorture/^$(or $(DEPLOYMENT),.*)$$' ./internal/torture
	@if [ -z "$(DEPLOYMENT)" ]; then \
	BECK_TORTURE=$(DURATION) go test -count=1 -timeout 0 -v -run Torture ./ondisk; fi

build:
	go build -o bin/beck ./cmd/beck
