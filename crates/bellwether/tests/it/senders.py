"""Real client libraries that push to a server: `senders.py KIND ARGUMENTS`. Each ends when everything was acknowledged."""

import pickle
import socket
import struct
import sys
import time


def otlp(kind, endpoint):
    from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
    from opentelemetry.sdk.resources import Resource

    delta = kind.endswith("-delta")
    preferred = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA} if delta else None
    if kind.startswith("grpc"):
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        exporter = OTLPMetricExporter(endpoint=endpoint, insecure=True, preferred_temporality=preferred)
    else:
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        exporter = OTLPMetricExporter(
            endpoint=endpoint + "/v1/metrics", compression=Compression.Gzip, preferred_temporality=preferred
        )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource.create({"service.name": "shop", "service.namespace": "eu", "service.instance.id": kind})
    views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource, views=views)
    meter = provider.get_meter("test")
    requests = meter.create_counter("http.requests", unit="1", description="Requests")
    latency = meter.create_histogram("http.latency", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    exponential = meter.create_histogram("exponential", unit="By")
    gauge = meter.create_gauge("queue.size")
    for _ in range(2):
        requests.add(3, {"http.method": "GET"})
        for value in (0.05, 0.5, 5.0):
            latency.record(value)
            exponential.record(value * 100)
        gauge.set(7)
        assert provider.force_flush(), "the export failed"
    provider.shutdown()


def influx(url):
    from influxdb_client import InfluxDBClient, Point
    from influxdb_client.client.write_api import SYNCHRONOUS

    with InfluxDBClient(url=url, token="any", org="any") as client:
        assert client.ping()
        assert client.health().status == "pass"
        point = Point("weather").tag("city", "Oslo Nord").field("temperature", 21.5).field("sunny", True).field("note", "x")
        client.write_api(write_options=SYNCHRONOUS).write("stations", record=point)


def statsd(port):
    from statsd import StatsClient, TCPStatsClient

    udp = StatsClient("127.0.0.1", int(port), prefix="app")
    udp.incr("hits", 3)
    udp.incr("hits", 2)
    udp.gauge("queue", 9)
    udp.gauge("queue", -2, delta=True)
    udp.timing("took", 250)
    udp.timing("took", 750)
    udp.set("users", "ann")
    udp.set("users", "bob")
    tcp = TCPStatsClient("127.0.0.1", int(port))
    tcp.incr("over.tcp", 4)
    tcp.close()


def pickled(port):
    now = int(time.time())
    for protocol in (0, 2, 5):
        payload = pickle.dumps([("pickled.p%d;dc=eu" % protocol, (now, 1.5))], protocol=protocol)
        with socket.create_connection(("127.0.0.1", int(port))) as connection:
            connection.sendall(struct.pack("!L", len(payload)) + payload)


def pushgateway(action, url):
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client import delete_from_gateway, push_to_gateway, pushadd_to_gateway

    registry = CollectorRegistry()
    key = {"path": "/var/tmp", "host": "a"}
    if action == "push":
        Gauge("last_success", "When", registry=registry).set(42)
        Counter("rows", "How many", ["table"], registry=registry).labels("t").inc(5)
        Histogram("step_seconds", "How long", registry=registry).observe(0.3)
        push_to_gateway(url, job="backup", registry=registry, grouping_key=key)
    elif action == "add":
        Gauge("last_success", "When", registry=registry).set(43)
        pushadd_to_gateway(url, job="backup", registry=registry, grouping_key=key)
    else:
        delete_from_gateway(url, job="backup", grouping_key=key)


if __name__ == "__main__":
    kinds = {"otlp": otlp, "influx": influx, "statsd": statsd, "pickled": pickled, "pushgateway": pushgateway}
    kinds[sys.argv[1]](*sys.argv[2:])
