"""Python's prometheus-api-client against a running emac: python prometheus_api_client_check.py URL"""

import sys
from datetime import datetime, timedelta

from prometheus_api_client import PrometheusApiClientException, PrometheusConnect

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
    assert 0 <= value <= 1, current
    lower = client.custom_query(f'{NAME}{{journey="checkout",window="5m"}} <= emac_journey_availability_estimate')
    assert len(lower) == 1, "the pessimistic bound is not above the estimate"

    end = datetime.now()
    start = end - timedelta(minutes=2)
    shown = f'{NAME}{{journey="checkout",window="5m"}}'
    series = client.custom_query_range(shown, start_time=start, end_time=end, step="15")
    assert len(series) == 1 and len(series[0]["values"]) >= 8, series
    raw = client.get_metric_range_data(NAME, {"journey": "checkout", "window": "5m"}, start_time=start, end_time=end)
    assert len(raw) == 1 and raw[0]["metric"]["journey"] == "checkout" and raw[0]["values"], raw
    mean = client.custom_query(f"avg_over_time({shown}[2m])")
    assert len(mean) == 1 and 0 <= float(mean[0]["value"][1]) <= 1, mean

    try:
        client.custom_query("emac_journey_gate{")
    except PrometheusApiClientException as error:
        assert "400" in str(error), error
    else:
        raise AssertionError("a broken query has an answer")


main(sys.argv[1])
