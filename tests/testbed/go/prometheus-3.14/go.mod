module prom-federate.test/prometheus-3.14

go 1.26.0

require github.com/prometheus/prometheus v0.314.0 // indirect
