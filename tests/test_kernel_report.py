"""How records read: the lines that existing clients match, and the data of v1."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from agentkernel import quotareport, report
from agentkernel.protocol.connection import Answer
from tests.by_hand import ADMIN, ME, OTHER, boot, run
from tests.gguf_files import write_model


def keys(text: str) -> list[str]:
    """The keys of a `key=value` line; a value may hold blanks in brackets or be a group."""
    return re.findall(r"(?:^| )([a-z_]+)=", text)


# Each in the order that clients read.
KERNEL = (
    "uptime_s total_commands total_errors total_exec_started total_signals active_processes "
    "waiting_processes active_pids waiting_pids selected_model_id loaded_model_id loaded_family "
    "loaded_model_path generation"
)
MEMORY = (
    "active total_blocks free_blocks tracked_pids allocated_tensors alloc_bytes evictions swap_count "
    "swap_faults swap_failures pending_swaps waiting_pids oom_events"
)
SCHEDULER = "scheduler_tracked priority_critical priority_high priority_normal priority_low"
PROCESS = (
    "pid owner_id state tokens index_pos max_tokens priority workload quota_tokens quota_syscalls "
    "tokens_generated syscalls_used elapsed_secs"
)


def test_status_without_a_model(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, model="")
        answer = report.kernel_status(bench.kernel, ME)
        assert answer.text == (
            "uptime_s=0 total_commands=0 total_errors=0 total_exec_started=0 total_signals=0 "
            "active_processes=0 waiting_processes=0 active_pids=[] waiting_pids=[] selected_model_id=none "
            "loaded_model_id=none loaded_family=none loaded_model_path=none no_model_loaded=true "
            "syscalls=0 syscall_errors=0 sandbox=off models=none"
        )
        assert set(answer.data) >= {"uptime_secs", "model", "processes", "generation"}
        assert "memory" not in answer.data

    run(main())


async def busy(tmp_path: Path):
    """Two slots: process 1 runs, 2 waits for input, 3 has neither slot nor tokens, 4 is another's."""
    bench = await boot(tmp_path)
    await bench.exec("hello", priority="high", max_tokens=9, limits={"max_tokens": 8})
    await bench.exec("hi", interactive=True, max_tokens=2, capability="code")
    bench.step(3)
    bench.kernel.suspend(ME, 2)
    bench.kernel.resume(ME, 2, None)
    await bench.exec("x" * 16, owner=OTHER)
    await bench.exec(priority="low")
    bench.kernel.suspend(ME, 4)
    await asyncio.sleep(2.5)
    bench.kernel.counters["commands"] += 7
    return bench


def test_status_of_the_kernel_reads_in_the_order_clients_know_and_ours_come_last(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await busy(tmp_path)
        answer = report.kernel_status(bench.kernel, ME)
        known = f"{KERNEL} mem_{MEMORY.replace(' ', ' mem_')} {SCHEDULER} "
        assert " ".join(keys(answer.text)).startswith(known)
        assert answer.text.startswith(
            "uptime_s=2 total_commands=7 total_errors=0 total_exec_started=4 total_signals=3 "
            "active_processes=1 waiting_processes=2 active_pids=[1] waiting_pids=[2, 4] "
            "selected_model_id=demo loaded_model_id=demo loaded_family=Llama "
            f"loaded_model_path={tmp_path}/demo.gguf "
            "generation=temperature:0.7 top_p:0.9 seed:"
        )
        assert re.search(r" seed:\d+ max_tokens:500 mem_active=true ", answer.text)
        assert (
            " scheduler_tracked=4 priority_critical=0 priority_high=1 priority_normal=2 priority_low=1 "
            in (answer.text)
        )
        assert (
            " engine_slots=2 engine_context=256 engine_threads=1 engine_restarts=0 engine_prompt_tokens=5 "
            "engine_jail=none " in answer.text
        )

    run(main())


def test_status_counts_the_memory_that_holders_use(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await busy(tmp_path)
        memory = report.kernel_status(bench.kernel, ADMIN).data["memory"]
        per_token = 2 * 2 * 2 * 32
        process, other = bench.kernel.find(ADMIN, 1), bench.kernel.find(ADMIN, 3)
        assert len(process.tokens) == 5 + 3
        used = (len(process.tokens) + len(other.tokens)) * per_token
        total = 2 * 256 * per_token
        assert " ".join(memory) == MEMORY
        assert (memory["alloc_bytes"], memory["tracked_pids"], memory["waiting_pids"]) == (used, 2, 2)
        assert memory["evictions"] == 1
        assert (memory["total_blocks"], memory["free_blocks"]) == (total // 16384, (total - used) // 16384)

    run(main())


def test_status_names_the_processes_its_owner_may_see(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await busy(tmp_path)
        seen = {who.name: report.kernel_status(bench.kernel, who).data["processes"] for who in (OTHER, ADMIN)}
        assert (seen["other"]["active_pids"], seen["other"]["waiting_pids"]) == ([3], [])
        assert (seen["root"]["active_pids"], seen["root"]["waiting_pids"]) == ([1, 3], [2, 4])

    run(main())


def test_status_of_a_process_reads_in_the_order_clients_know(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await busy(tmp_path)
        answer = report.process_status(bench.kernel, bench.kernel.find(ME, 1))
        assert answer.text.startswith(
            "pid=1 owner_id=1 state=Running tokens=8 index_pos=7 max_tokens=9 priority=high workload=General "
            "quota_tokens=8 quota_syscalls=8 tokens_generated=3 syscalls_used=0 elapsed_secs=2.50 model=demo "
        )
        assert " ".join(keys(answer.text)).startswith(PROCESS)
        assert " ".join(answer.data).startswith(PROCESS)
        assert answer.data["elapsed_secs"] == 2.5
        assert sum(answer.data["times"].values()) == pytest.approx(2.5)
        assert answer.data["queue_position"] == 0

    run(main())


def test_status_of_a_waiting_and_of_an_ended_process_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await busy(tmp_path)
        waiting = report.process_status(bench.kernel, bench.kernel.find(ME, 2))
        assert " wait=input reason=length " in waiting.text
        assert (waiting.data["state"], waiting.data["wait"]) == ("Waiting", "input")
        assert (waiting.data["workload"], waiting.data["quota_tokens"]) == ("Code", 4096)
        bench.kernel.kill(ME, 2)
        await asyncio.sleep(5)
        ended = report.process_status(bench.kernel, bench.kernel.find(ME, 2)).data
        assert (ended["state"], ended["reason"], ended["elapsed_secs"]) == ("Killed", "killed", 2.5)
        assert "queue_position" not in ended

    run(main())


def test_ps_has_the_same_keys_in_each_line(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await busy(tmp_path)
        answer = report.process_list(bench.kernel, bench.kernel.visible(ADMIN))
        head, *lines = answer.text.splitlines()
        assert head == "Processes (4)"
        assert len({tuple(keys(line)) for line in lines}) == 1
        assert lines[1] == (
            "pid=2 owner=me state=Waiting wait=input priority=normal model=demo prompt_tokens=2 "
            "tokens_generated=2 elapsed_secs=2.5 asks=none nice=0 queued_secs=0 prefill_secs=0 decode_secs=0 "
            "syscall_secs=0 swap_secs=0 waiting_secs=2.5 suspended_secs=0"
        )
        times = [row["times"] for row in answer.data["processes"]]
        assert [sum(each.values()) for each in times] == [
            row["elapsed_secs"] for row in answer.data["processes"]
        ]
        assert [row["pid"] for row in answer.data["processes"]] == [1, 2, 3, 4]
        assert report.process_list(bench.kernel, []) == Answer(
            {"total_processes": 0, "processes": []}, "Processes (0)"
        )

    run(main())


def test_the_reply_to_exec(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(priority="critical", capability="fast", seed=9)
        answer = report.started(bench.kernel, process, bench.screen)
        assert answer.text == "Process Started PID: 1 workload=Fast priority=critical"
        assert answer.data == {
            "session_id": "session-1",
            "pid": 1,
            "workload": "Fast",
            "priority": "critical",
            "context_strategy": "stop",
            "context_window_size": 256,
            "model": "demo",
            "prompt_tokens": 5,
            "seed": 9,
        }

    run(main())


def test_the_replies_to_wait_and_get_quota(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(max_tokens=2)
        await asyncio.sleep(1.42)
        assert quotareport.quota(bench.kernel, process).text == (
            "pid=1 priority=normal workload=General max_tokens=2048 max_syscalls=8 tokens_generated=0 "
            "syscalls_used=0 elapsed_secs=1.42 prompt_tokens=5 cpu_secs=0 kv_byte_secs=0"
        )
        bench.finish()
        assert report.ended(bench.kernel, process).text == (
            "pid=1 state=Done reason=length tokens_generated=2 elapsed_secs=1.42"
        )

    run(main())


def test_generation_settings_read_as_one_line(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, model="")
        unseeded = report.generation(bench.kernel)
        assert unseeded.data["seed"] == bench.kernel.seed
        bench.kernel.set_generation({"temperature": "0.5", "seed": "42", "max_tokens": 128, "top_k": 3})
        answer = report.generation(bench.kernel)
        assert answer.text == "temperature=0.5 top_p=0.9 seed=42 max_tokens=128"
        assert list(answer.data)[:4] == ["temperature", "top_p", "seed", "max_tokens"]
        assert answer.data["top_k"] == 3

    run(main())


def test_models_are_listed_with_the_selected_one_marked(tmp_path: Path) -> None:
    async def main() -> None:
        write_model(tmp_path / "b/qwen.gguf", general__architecture="qwen2")
        bench = await boot(tmp_path)
        models = bench.kernel.models
        await models.select("b/qwen")
        answer = report.model_list(await models.cards(), models)
        assert answer.text == (
            f"Models (2)\n* id=b/qwen family=Qwen path={tmp_path}/b/qwen.gguf\n"
            f"- id=demo family=Llama path={tmp_path}/demo.gguf"
        )
        assert (answer.data["selected_model_id"], answer.data["total_models"]) == ("b/qwen", 2)
        assert [(row["id"], row["loaded"]) for row in answer.data["models"]] == [
            ("b/qwen", False),
            ("demo", True),
        ]
        assert not any("chat_template" in row for row in answer.data["models"])

    run(main())


def test_a_models_card_begins_with_what_clients_read(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        answer = report.model_info(await bench.kernel.models.info(""))
        lines = answer.text.splitlines()
        assert lines[:4] == ["id=demo", "family=Llama", f"path={tmp_path}/demo.gguf", "tokenizer=llama"]
        assert "chat_template=true" in lines
        assert answer.data["chat_template"] == "{{ messages }}"
        assert answer.data["kv_bytes_per_token"] == 2 * 2 * 2 * 32

    run(main())


def test_the_reply_to_load(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        answer = report.loaded(bench.kernel.models.current())
        assert answer.text == f"Master Model Loaded. family=Llama path={tmp_path}/demo.gguf"
        expected = {
            "family": "Llama",
            "loaded_model_id": "demo",
            "architecture": "llama",
            "load_mode": "resident",
        }
        assert answer.data.items() >= expected.items()

    run(main())
