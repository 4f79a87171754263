# make test   formatting, vet, staticcheck and all tests with the race detector,
#             on real Redis servers; installs redis-server where it is missing
#             and it may
# make bench  the table of `beck bench` on disk and on a Redis of its own
# make show   what is promised, shown on running systems, in full: processes over
#             Redis and a server on disk, some of which are killed; five minutes
# make build  bin/beck

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: test check redis bench show build

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

build:
	go build -o bin/beck ./cmd/beck
