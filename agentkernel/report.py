"""How the kernel's records read: as v1 data and as the text dialect's lines (§5), both at once.

Existing clients match the text lines by key and order: our further keys come last.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any

import msgspec

from agentkernel import due, explain, toolreport
from agentkernel.admission import slot_ms
from agentkernel.catalog import ModelCard
from agentkernel.kernel import Kernel
from agentkernel.models import Models
from agentkernel.pages import Tier
from agentkernel.phases import rounded
from agentkernel.plan import LANES
from agentkernel.process import PRIORITIES, Owner, Process, Sink, State
from agentkernel.protocol.connection import Answer
from agentkernel.replaying import Replay
from agentkernel.serving import Served

_PAGE = 16 * 1024  # bytes of KV that one block of STATUS's memory group stands for


def line(data: dict[str, Any]) -> str:
    """The data in a line of the text dialect."""
    return " ".join(f"{key}={_word(value)}" for key, value in data.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "none" if value in ("", None) else str(value)


def kernel_status(kernel: Kernel, owner: Owner) -> Answer:
    """STATUS of the kernel: counters of all, PIDs of those the owner may see."""
    models = kernel.models
    served = models.served.get(models.loaded_id)
    processes = kernel.visible(owner)
    waiting = [p.pid for p in processes if p.state in (State.WAITING, State.SUSPENDED)]
    active = [p.pid for p in processes if p.state in (State.READY, State.RUNNING)]
    uptime = kernel.clock() - kernel.started
    counters = {
        "total_commands": kernel.counters["commands"],
        "total_errors": kernel.counters["errors"],
        "total_exec_started": kernel.counters["execs"],
        "total_signals": kernel.counters["signals"],
    }
    who = {
        "active_processes": len(active),
        "waiting_processes": len(waiting),
        "active_pids": active,
        "waiting_pids": waiting,
    }
    model = {
        "selected_model_id": models.selected_id,
        "loaded_model_id": models.loaded_id,
        "loaded_family": served.card.family if served else "",
        "loaded_model_path": served.card.path if served else "",
    }
    known = [_known(each) for each in models.served.values()]
    text = f"uptime_s={int(uptime)} {line(counters | who | model)}"
    data = {"uptime_secs": round(uptime, 3), **counters, "model": model, "processes": who, "models": known}
    data["generation"] = _generation(kernel)
    jail = toolreport.sandbox(kernel.gate.verdict)
    data["tools"] = {**kernel.gate.counters, "sandbox": jail}
    ids = ",".join(each["id"] + ("" if each["in_memory"] else ":out") for each in known)
    tools = line({**kernel.gate.counters, "sandbox": jail["backend"], "models": ids})
    if served is None:
        return Answer(data, f"{text} no_model_loaded=true {tools}")
    settings = _generation(kernel)
    main = " ".join(f"{k}:{_word(settings[k])}" for k in _GENERATION_KEYS)
    memory, scheduler, engine = _memory(served), _scheduler(kernel), _engine(served)
    images = _images(served)
    engine_and_jail = engine | {"jail": served.jail}
    data |= {"memory": memory, "scheduler": scheduler, "engine": engine_and_jail, "images": images}
    lanes = {f"queued_{lane}": served.scheduler.queued(lane) for lane in LANES}
    lanes |= {f"waiting_{lane}": kernel.admission.waiting(served, lane) for lane in LANES}
    data["lanes"] = lanes
    groups = line({f"mem_{key}": value for key, value in memory.items()} | scheduler)
    extra = line(engine | {"engine_jail": ",".join(served.jail)} | images)
    return Answer(data, f"{text} generation={main} {groups} {extra} {tools} {line(lanes)}")


def _known(served: Served) -> dict[str, Any]:
    """A model that was loaded: whether it is in memory now, and who uses it."""
    return {
        "id": served.card.id,
        "in_memory": served.in_memory,
        "bytes": served.size,
        "processes": served.lives,
    }


def _memory(served: Served) -> dict[str, Any]:
    """KV slots as blocks of 16 KiB; an image moved out of a slot is a swap, one moved back a fault."""
    per_token = served.card.kv_bytes_per_token
    held = [p for p in served.processes.values() if served.scheduler.slot(p.pid) is not None]
    used = sum(len(p.tokens) for p in held) * per_token
    total = served.load.slots * served.context * per_token
    counts = served.paging.counts
    return {
        "active": True,
        "total_blocks": total // _PAGE,
        "free_blocks": (total - used) // _PAGE,
        "tracked_pids": len(held),
        "allocated_tensors": len(held),
        "alloc_bytes": used,
        "evictions": served.evictions,
        "swap_count": counts["out"],
        "swap_faults": counts["in"] + counts["disk-in"],
        "swap_failures": counts["failed"],
        "pending_swaps": 0,
        "waiting_pids": len(served.processes) - len(held),
        "oom_events": 0,
    }


def _images(served: Served) -> dict[str, Any]:
    pager = served.paging.pager
    return {
        "image_ram_bytes": pager.held(Tier.RAM),
        "image_disk_bytes": pager.held(Tier.DISK),
        "shared_prefixes": served.paging.counts["share"],
    }


def _scheduler(kernel: Kernel) -> dict[str, Any]:
    count: Counter[str] = Counter(process.priority for process in kernel.table)
    classes = {f"priority_{name}": count[name] for name in reversed(PRIORITIES)}
    return {"scheduler_tracked": len(kernel.table), **classes}


def _engine(served: Served) -> dict[str, Any]:
    return {
        "engine_slots": served.load.slots,
        "engine_context": served.context,
        "engine_threads": served.threads,
        "engine_restarts": served.restarts,
        "engine_prompt_tokens": served.prompt_tokens,
    }


def process_status(kernel: Kernel, process: Process) -> Answer:
    """STATUS of one process."""
    now = kernel.clock()
    data: dict[str, Any] = {
        "pid": process.pid,
        "owner_id": process.owner.id,
        "state": process.state.value,
        "tokens": process.prompt_tokens + process.generated,
        "index_pos": max(0, process.prompt_tokens + process.generated - 1),
        "max_tokens": process.plan.max_tokens,
        "priority": process.priority,
        "workload": process.plan.workload.capitalize(),
        "quota_tokens": process.quota_tokens,
        "quota_syscalls": process.quota_syscalls,
        "tokens_generated": process.generated,
        "syscalls_used": process.syscalls,
        "elapsed_secs": round(process.elapsed(now), 3),
    }
    extra: dict[str, Any] = {
        "model": process.model_id,
        "wait": process.wait.value if process.wait else "",
        "reason": process.reason,
        "prompt_tokens": process.prompt_tokens,
        "seed": process.plan.sampling.seed,
        "interactive": process.plan.interactive,
        "parent": process.parent,
        "epoch": process.epoch,
        "context_tokens": len(process.tokens),
        "context_strategy": process.plan.context_strategy,
        "on_disconnect": process.plan.on_disconnect,
        "attached": process.sink is not None,
        "trust": process.plan.permits.trust if process.plan.permits else "",
        "calls": process.called,
        "asks": _question(kernel, process),
        "nice": process.nice,
        "deadline_left_ms": _left_ms(due.goal(process), now),
        "wall_left_ms": _left_ms(inf if process.state.ended else due.end(process), now),
        "missed": ",".join(process.missed),
        **measured(kernel, process),
        "lane": process.lane,
    }
    times = rounded(process.times(now))
    served = kernel.models.served.get(process.model_id)
    if served is not None and process.pid in served.processes:
        place, in_lane = served.scheduler.places(process.pid, now)
        extra |= {"queue_position": place, "lane_position": in_lane}
        extra["estimate_ms"] = slot_ms(served, place)
    shown = {"elapsed_secs": f"{process.elapsed(now):.2f}"}
    text = line(data | shown | extra | _call_of(extra) | _seconds(times))
    return Answer(data | extra | {"times": times}, text)


def _seconds(times: dict[str, float]) -> dict[str, float]:
    """What a line shows of them."""
    return {f"{phase}_secs": spent for phase, spent in times.items()}


def _left_ms(moment: float, now: float) -> int | None:
    """Milliseconds until then; None for never."""
    return None if moment == inf else round((moment - now) * 1e3)


def measured(kernel: Kernel, process: Process) -> dict[str, float]:
    """What is measured of a process's use besides its time."""
    if served := kernel.models.served.get(process.model_id):
        served.measure(process.pid)
    held = process.meter.total(kernel.clock())
    return {"cpu_secs": round(process.cpu_secs, 3), "kv_byte_secs": round(held)}


def _question(kernel: Kernel, process: Process) -> str:
    """What the process asks a person, with the number of the call that does."""
    question = kernel.gate.people.of(process.pid)
    return f"{question.call}:{question.said}" if question else ""


def _call_of(data: dict[str, Any]) -> dict[str, str]:
    """What a line shows of a question: the number of the call, as the rest is a model's text, and no word."""
    return {"asks": data["asks"].partition(":")[0]}


def process_list(kernel: Kernel, processes: list[Process]) -> Answer:
    """PS: a line a process, the same keys in each."""
    now = kernel.clock()
    rows = [
        {
            "pid": p.pid,
            "owner": p.owner.name,
            "state": p.state.value,
            "wait": p.wait.value if p.wait else "",
            "priority": p.priority,
            "model": p.model_id,
            "prompt_tokens": p.prompt_tokens,
            "tokens_generated": p.generated,
            "elapsed_secs": round(p.elapsed(now), 3),
            "asks": _question(kernel, p),
            "nice": p.nice,
        }
        for p in processes
    ]
    text = [f"Processes ({len(processes)})"]
    listed: list[dict[str, Any]] = []
    for row, process in zip(rows, processes, strict=True):
        times = rounded(process.times(now))
        text.append(line(row | _call_of(row) | _seconds(times)))
        listed.append({**row, "times": times})
    return Answer({"total_processes": len(listed), "processes": listed}, "\n".join(text))


def why(kernel: Kernel, process: Process) -> Answer:
    """WHY's reply."""
    reason = explain.why(process, kernel.models.served.get(process.model_id), kernel.clock())
    if question := kernel.gate.people.of(process.pid):
        reason += f" (call {question.call}): {msgspec.json.encode(question.said).decode()}"
    data = {"pid": process.pid, "state": process.state.value, "why": reason}
    return Answer(data, f"PID {process.pid} {reason}")


def started(kernel: Kernel, process: Process, sink: Sink) -> Answer:
    """EXEC's reply to who has this sink; behind a key the process may be one that streams elsewhere."""
    served = kernel.models.served.get(process.model_id)
    workload = process.plan.workload.capitalize()
    data = {
        "session_id": f"session-{process.pid}",
        "pid": process.pid,
        "workload": workload,
        "priority": process.priority,
        "context_strategy": process.plan.context_strategy,
        "context_window_size": served.context if served else 0,
        "model": process.model_id,
        "prompt_tokens": process.prompt_tokens,
        "seed": process.plan.sampling.seed,
    }
    if process.plan.key:
        data["streams_here"] = process.sink is sink
    text = f"Process Started PID: {process.pid} workload={workload} priority={process.priority}"
    if why := process.plan.rationale:
        data["rationale"] = why
        text += f" model={process.model_id} rationale={why}"
    return Answer(data, text)


def ended(kernel: Kernel, process: Process) -> Answer:
    """WAIT's reply."""
    data = {
        "pid": process.pid,
        "state": process.state.value,
        "reason": process.reason,
        "tokens_generated": process.generated,
        "elapsed_secs": round(process.elapsed(kernel.clock()), 3),
    }
    return Answer(data, line(data))


_GENERATION_KEYS = ("temperature", "top_p", "seed", "max_tokens")


def _generation(kernel: Kernel) -> dict[str, Any]:
    settings = msgspec.to_builtins(kernel.generation)
    settings["seed"] = kernel.seed if settings["seed"] is None else settings["seed"]
    return {key: settings[key] for key in (*_GENERATION_KEYS, *settings)}


def generation(kernel: Kernel) -> Answer:
    """SET_GEN's and GET_GEN's reply; without a set seed, the one that processes' own derive from."""
    settings = _generation(kernel)
    return Answer(settings, line({key: settings[key] for key in _GENERATION_KEYS}))


def replayed(replay: Replay) -> Answer:
    """REPLAY's reply."""
    data = {
        "pid": replay.pid,
        "tokens": replay.tokens,
        "differs_at": replay.at,
        "said": replay.said,
        "drawn": replay.drawn,
    }
    same = f"PID {replay.pid} says the same: {replay.tokens} tokens"
    if replay.at is None:
        return Answer(data, same)
    instead = "the end" if replay.drawn is None else replay.drawn
    return Answer(data, f"{same}, then at {replay.at} {instead} instead of {replay.said}")


def attached(process: Process, offset: int, size: int) -> Answer:
    """ATTACH's reply."""
    data = {"pid": process.pid, "offset": offset, "size": size, "state": process.state.value}
    data["epoch"] = process.epoch
    return Answer(data, f"Attached to PID {process.pid} at byte {offset} of {size}")


def model_list(cards: list[ModelCard], models: Models) -> Answer:
    """LIST_MODELS' reply."""
    selected = models.selected_id
    rows = [_card(card) | {"loaded": card.id in models.served} for card in cards]
    for row in rows:
        del row["chat_template"]
    data = {"selected_model_id": selected, "total_models": len(cards), "models": rows}
    lines = [f"Models ({len(cards)})"]
    for card in cards:
        mark = "*" if card.id == selected else "-"
        lines.append(f"{mark} id={card.id} family={card.family} path={card.path}")
    return Answer(data, "\n".join(lines))


def _card(card: ModelCard) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(card)
    if not card.adapter:
        del data["adapter"]
    return data


def model_info(card: ModelCard) -> Answer:
    """MODEL_INFO's reply."""
    data = _card(card)
    first = {key: data.pop(key) for key in ("id", "family", "path", "tokenizer")}
    template = data.pop("chat_template")
    shown = first | data | {"chat_template": bool(template)}
    text = "\n".join(f"{key}={_word(value)}" for key, value in shown.items())
    return Answer(first | data | {"chat_template": template}, text)


def loaded(served: Served) -> Answer:
    """LOAD's reply."""
    card = served.card
    data = {
        "family": card.family,
        "loaded_model_id": card.id,
        "path": card.path,
        "architecture": card.architecture,
        "backend": "llama.cpp",
        "load_mode": "resident",
        **_engine(served),
        "jail": served.jail,
    }
    return Answer(data, f"Master Model Loaded. family={card.family} path={card.path}")
