"""What EXEC may ask, and the plan and quotas it comes to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentkernel.config import Generation
from agentkernel.errors import KernelError
from agentkernel.plan import Message, Plan
from agentkernel.request import ExecRequest, infer_workload

DEFAULTS = Generation(
    temperature=0.3, top_p=0.8, top_k=7, min_p=0.1, repeat_penalty=1.2, seed=11, max_tokens=50
)


def request(**fields: Any) -> ExecRequest:
    return msgspec.convert(fields, ExecRequest)


def plan(defaults: Generation = DEFAULTS, pid: int = 1, **fields: Any) -> Plan:
    asked = request(**({"prompt": "hello"} | fields))
    asked.check()
    return asked.plan(defaults, base_seed=99, pid=pid)


def refusal(**fields: Any) -> KernelError:
    with pytest.raises(KernelError) as caught:
        plan(**({"prompt": None} | fields))
    return caught.value


def test_what_is_left_out_comes_from_the_defaults() -> None:
    made = plan()
    sampling = made.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.3, 0.8, 7, 0.1)
    assert (sampling.repeat_penalty, sampling.seed, made.max_tokens) == (1.2, 11, 50)
    assert (made.prompt, made.raw, made.messages, made.stop) == ("hello", False, (), ())
    assert (made.on_disconnect, made.interactive, made.workload) == ("kill", False, "general")
    assert (made.grammar, made.json_schema) == ("", "")


def test_what_is_given_goes_before_the_defaults_also_when_it_is_zero() -> None:
    made = plan(temperature=0, top_p=0.0, top_k=0, min_p=0, repeat_penalty=1, seed=0, max_tokens=1)
    sampling = made.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0, 0, 0, 0)
    assert (sampling.repeat_penalty, sampling.seed, made.max_tokens) == (1, 0, 1)


def test_without_a_seed_each_process_gets_its_own_and_the_same_again() -> None:
    unseeded = msgspec.structs.replace(DEFAULTS, seed=None)
    seeds = [plan(unseeded, pid).sampling.seed for pid in range(1, 1000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds[4] == plan(unseeded, 5).sampling.seed


def test_one_stop_string_is_a_list_of_one() -> None:
    assert plan(stop="END").stop == ("END",)
    assert plan(stop=["a", "b"]).stop == ("a", "b")


def test_a_schema_is_kept_as_its_json() -> None:
    assert plan(json_schema={"type": "object"}).json_schema == '{"type":"object"}'
    assert plan(json_schema={}).json_schema == "{}"


def test_messages_stand_in_for_a_prompt() -> None:
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    made = plan(prompt=None, messages=turns)
    assert made.messages == (Message("system", "be brief"), Message("user", "hi"))
    assert made.prompt is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "either prompt or messages"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "either prompt or messages"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n\t"}, "the prompt is empty"),
        ({"messages": [{"role": "user", "content": "b"}], "raw": True}, "messages can't be raw"),
        ({"prompt": "a", "grammar": "root ::= x", "json_schema": {}}, "either grammar or json_schema"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], said: str) -> None:
    error = refusal(**fields)
    assert (error.code, error.message) == ("EXEC_INVALID", said)


@pytest.mark.parametrize(
    "fields",
    [
        {"promt": "a"},
        {"prompt": 5},
        {"prompt": "a", "temperature": 2.1},
        {"prompt": "a", "temperature": -0.1},
        {"prompt": "a", "top_p": 1.1},
        {"prompt": "a", "top_k": -1},
        {"prompt": "a", "min_p": 2},
        {"prompt": "a", "repeat_penalty": 0},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "max_tokens": 1.5},
        {"prompt": "a", "max_tokens": "5"},
        {"prompt": "a", "max_tokens": 2**31},
        {"prompt": "a", "top_k": 2**31},
        {"prompt": "a", "limits": {"max_tokens": 2**31}},
        {"prompt": "a", "seed": -1},
        {"prompt": "a", "seed": 2**64},
        {"prompt": "a", "priority": "urgent"},
        {"prompt": "a", "nice": 20},
        {"prompt": "a", "nice": -21},
        {"prompt": "a", "on_disconnect": "stay"},
        {"prompt": "a", "capability": "poetry"},
        {"prompt": "a", "stop": [1]},
        {"prompt": "a", "json_schema": []},
        {"prompt": "a", "limits": {"max_tokens": 0}},
        {"prompt": "a", "limits": {"tokens": 5}},
        {"prompt": "a", "max_syscalls": -1},
        {"messages": [{"role": "robot", "content": "a"}]},
        {"messages": [{"role": "user", "content": "a", "name": "b"}]},
        {"messages": "a"},
    ],
)
def test_wrong_keys_types_and_ranges_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        request(**fields)


def quotas(**fields: Any) -> tuple[int, int]:
    asked = request(**({"prompt": "hello"} | fields))
    return asked.quotas(asked.plan(DEFAULTS, 99, 1))


def test_quotas_are_the_workloads() -> None:
    seen = {name: quotas(capability=name) for name in ("fast", "general", "code", "reasoning")}
    assert seen == {"fast": (512, 2), "general": (2048, 8), "code": (4096, 16), "reasoning": (8192, 8)}


def test_asking_for_more_tokens_than_the_workload_has_raises_the_quota_and_for_fewer_does_not_lower_it() -> (
    None
):
    assert quotas(capability="fast", max_tokens=600) == (600, 2)
    assert quotas(capability="fast", max_tokens=5) == (512, 2)


def test_limits_go_before_the_workloads_quotas() -> None:
    assert quotas(limits={"max_tokens": 9, "max_syscalls": 0}) == (9, 0)
    assert quotas(limits={"max_syscalls": 3}, max_syscalls=4) == (2048, 4)
    assert quotas(max_tokens=3000, limits={"max_tokens": 10}) == (10, 8)


@pytest.mark.parametrize(
    ("text", "workload"),
    [
        ("Tell me a story", "general"),
        ("Write a PYTHON function", "code"),
        ("```x```", "code"),
        ("Think step by step", "reasoning"),
        ("Answer yes or no", "fast"),
        ("", "general"),
    ],
)
def test_a_workload_is_guessed_from_the_prompt(text: str, workload: str) -> None:
    assert infer_workload(text) == workload


def test_a_hint_goes_before_the_guess_and_messages_count_by_their_last() -> None:
    assert request(prompt="in short", capability="code").workload == "code"
    turns = [{"role": "user", "content": "python"}, {"role": "user", "content": "briefly"}]
    assert request(messages=turns).workload == "fast"


def test_drafts_are_asked_for_and_not_of_who_is_decoded_a_token_at_a_time() -> None:
    assert (plan().prompt_lookup, plan(prompt_lookup=True).prompt_lookup) == (False, True)
    assert refusal(prompt_lookup=True, deterministic=True).code == "EXEC_INVALID"
