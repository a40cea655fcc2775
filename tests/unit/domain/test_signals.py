"""Telemetry is an interface: names are unique, of one form, with units; the docs are made from them."""

import re

import pytest

from lull.domain import signals
from lull.domain.signals import (
    METRICS,
    PAGE_SPAN_EVERY,
    SEARCH_ATTRIBUTES,
    SPANS,
    Instrument,
    Metric,
    SearchAttribute,
    Span,
)

UNITS = {"s", "ms", "By", "1"}
"""UCUM units; a count of things is written as an annotation, {thing}."""
SQL_KEYWORDS_MAX = 10


@pytest.mark.parametrize("kind", [Metric, Span, SearchAttribute])
def test_whatever_is_defined_is_listed(kind: type):
    defined = {value for value in vars(signals).values() if isinstance(value, kind)}
    assert defined == {value for value in (*METRICS, *SPANS, *SEARCH_ATTRIBUTES) if isinstance(value, kind)}


def test_names_are_unique():
    for names in ([m.name for m in METRICS], [s.name for s in SPANS], [a.name for a in SEARCH_ATTRIBUTES]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_has_a_dotted_name_a_unit_and_a_meaning(metric: Metric):
    assert re.fullmatch(r"lull(\.[a-z]+)+", metric.name)
    assert metric.unit in UNITS or re.fullmatch(r"\{[a-z]+\}", metric.unit)
    assert len(metric.meaning.split()) >= 2
    assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)*", name) for name in metric.attributes)
    assert len(set(metric.attributes)) == len(metric.attributes)


def test_no_two_metrics_have_one_name_once_dots_and_underscores_are_the_same():
    """Prometheus writes dots as underscores."""
    names = [metric.name.replace(".", "_") for metric in METRICS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", [m for m in METRICS if m.instrument is Instrument.HISTOGRAM], ids=lambda m: m.name)
def test_a_histogram_is_not_split_by_job(metric: Metric):
    """Every label value multiplies its buckets; jobs come and go without end."""
    assert signals.JOB not in metric.attributes


def test_no_attribute_can_hold_a_document_or_an_id():
    attributes = {name for metric in METRICS for name in metric.attributes}
    of_slices = {signals.JOB, "kind", "cluster", "result", "end", "reason"}
    assert attributes <= of_slices | {"zone", "signal", "operation", "label"}


def test_no_attribute_has_a_name_that_prometheus_uses_itself():
    """The collector adds ``job`` and ``instance`` to every series; a label given twice makes it drop the metric."""
    labels = {name.replace(".", "_") for metric in METRICS for name in metric.attributes}
    assert labels.isdisjoint({"job", "instance", "le", "quantile"})
    assert not any(label.startswith(("__", "otel_scope_")) for label in labels)


@pytest.mark.parametrize("span", SPANS, ids=lambda span: span.name)
def test_a_span_names_its_attributes_in_our_namespace(span: Span):
    assert re.fullmatch(r"lull(\.[a-z]+)+", span.name)
    assert all(re.fullmatch(r"lull(\.[a-z]+)+", name) for name in span.attributes)
    assert span.meaning


def test_search_attributes_fit_a_visibility_store_on_sql_and_say_whose_they_are():
    assert len(SEARCH_ATTRIBUTES) <= SQL_KEYWORDS_MAX
    assert all(
        re.fullmatch(r"Lull[A-Z][a-z]+", attribute.name) and attribute.meaning for attribute in SEARCH_ATTRIBUTES
    )


def test_page_spans_are_sampled():
    assert PAGE_SPAN_EVERY >= 10
