"""Does a CI system read the verdicts apart: failure, error, skipped?"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import msgspec

from diag.facts.verdict import Verdict, Verdicts
from diag.report.junit import junit_xml
from tests.report import samples


def cases(verdicts: Verdicts) -> dict[str, ET.Element]:
    root = ET.fromstring(junit_xml(verdicts, samples.CHECKS, samples.snapshot()))
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def test_every_verdict_is_a_case_and_the_outcomes_are_kept_apart():
    found = cases(samples.verdicts())
    assert len(found) == len(samples.verdicts().verdicts)
    children = {name: [child.tag for child in case] for name, case in found.items()}
    assert children["mtu_is_uniform[gpu01]"] == []
    assert children["gpu_has_full_pcie_width[gpu03:5]"] == ["failure"]
    assert children["mtu_is_uniform[gpu04]"] == ["error"]
    assert children["own_check[cluster]"] == ["error"]
    assert children["memlock_is_unlimited[gpu01]"] == ["skipped"]
    assert children["no_new_xid[gpu01]"] == ["skipped"]
    assert children["swap_is_off[gpu01]"] == ["system-out"]


def test_the_counts_are_those_of_the_cases():
    root = ET.fromstring(junit_xml(samples.verdicts(), samples.CHECKS, samples.snapshot()))
    for element in (root, *root.iter("testsuite")):
        for attribute, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            assert int(element.attrib[attribute]) == sum(1 for _ in element.iter(tag)), (element.attrib, tag)
    assert root.attrib["failures"] == "2"


def test_a_failure_says_what_was_found_and_what_to_do():
    failure = cases(samples.verdicts())["hostname_is_not_loopback[gpu02]"].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "found     gpu02 resolves to 127.0.1.1 on gpu02\nexpected  an address" in failure.text
    assert '10.0.0.12 gpu02" before' in failure.text
    assert failure.text.endswith("$ ssh gpu02 'hostname -i'")


def test_a_command_to_copy_goes_the_way_that_the_run_went():
    ways = {"gpu02": ("ssh", "-l", "ops", "gpu02")}
    text = junit_xml(samples.verdicts(), samples.CHECKS, samples.snapshot(), ways).decode()
    assert "$ ssh -l ops gpu02 'hostname -i'" in text


def test_a_suite_carries_why_and_what_to_do():
    root = ET.fromstring(junit_xml(samples.verdicts(), samples.CHECKS, samples.snapshot()))
    suite = next(suite for suite in root if suite.attrib["name"] == "mtu_is_uniform")
    properties = {entry.attrib["name"]: entry.attrib["value"] for entry in suite.iter("property")}
    assert properties == {"why": "frames get lost in silence", "do": "set one MTU"}


def test_characters_that_xml_cannot_hold_are_shown():
    odd = samples.verdict(
        "c", 'gpu"01&', "failed", found="\x00\x1b[31m<b>\udc80\ufffe", expected="]]>", summary="a\x07\n"
    )
    verdicts = msgspec.structs.replace(samples.verdicts(), verdicts=(odd,))
    [(name, case)] = cases(verdicts).items()
    assert name == 'c[gpu"01&]'
    failure = case.find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "\\x00\\x1b[31m<b>\\udc80\\ufffe" in failure.text
    assert failure.attrib["message"] == "a\\x07\n"


def test_what_was_not_asked_for_is_no_error():
    unasked = Verdict(check="mtu_is_uniform", node="gpu01", subject=None, outcome="not_measured", asked=False)
    found = cases(msgspec.structs.replace(samples.verdicts(), verdicts=(unasked,)))
    assert [child.tag for child in found["mtu_is_uniform[gpu01]"]] == ["skipped"]


def test_what_to_do_about_a_check_holds_no_unfilled_place():
    root = ET.fromstring(junit_xml(samples.verdicts(), samples.CHECKS, samples.snapshot()))
    told = [each.attrib["value"] for each in root.iter("property") if each.attrib["name"] == "do"]
    assert "reseat SUBJECT\n$ ssh NODE 'nvidia-smi -i SUBJECT'" in told
    assert not any("{" in text for text in told)
