module github.com/beckmq/beck

go 1.25.0
