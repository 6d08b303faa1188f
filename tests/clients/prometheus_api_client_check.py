"""Python's prometheus-api-client against a running emac: python prometheus_api_client_check.py URL"""

import sys
from datetime import datetime, timedelta

from prometheus_api_client import MetricsList, PrometheusApiClientException, PrometheusConnect

NAME = "emac_journey_availability_pessimistic"


def main(url: str) -> None:
    client = PrometheusConnect(url=url)
    assert client.check_prometheus_connection(), "it probes GET /"

    names = client.all_metrics()
    assert NAME in names and len(names) == len(set(names)), "names are listed once"
    assert any(not name.startswith("emac_journey_") for name in names), "those of the upstream too"
    assert "journey" in client.get_label_names()
    assert "checkout" in client.get_label_values("journey")

    current = client.get_current_metric_value(NAME, {"journey": "checkout", "window": "5m"})
    assert len(current) == 1, current
    value = float(current[0]["value"][1])
    assert 0 < value <= 1, current
    lower = client.custom_query(f'{NAME}{{journey="checkout",window="5m"}} <= emac_journey_availability_estimate')
    assert len(lower) == 1, "the pessimistic bound is not above the estimate"

    end = datetime.now()
    start = end - timedelta(minutes=2)
    series = client.custom_query_range(f'{NAME}{{journey="checkout"}}', start_time=start, end_time=end, step="15")
    assert len(series) == 3, "three windows"
    assert all(len(one["values"]) >= 8 for one in series), series
    raw = client.get_metric_range_data(NAME, {"journey": "checkout", "window": "5m"}, start_time=start, end_time=end)
    parsed = MetricsList(raw)
    assert len(parsed) == 1 and parsed[0].label_config["journey"] == "checkout", raw
    aggregated = client.get_metric_aggregation(f'{NAME}{{journey="checkout",window="5m"}}', ["min", "max", "average"])
    assert 0 < aggregated["min"] <= aggregated["average"] <= aggregated["max"] <= 1, aggregated

    try:
        client.custom_query("emac_journey_gate{")
    except PrometheusApiClientException as error:
        assert "400" in str(error), error
    else:
        raise AssertionError("a broken query has an answer")


main(sys.argv[1])
