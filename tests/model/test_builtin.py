"""The shipped models: they fit, their metadata is right, and they do what the card says on prompts of the
wild.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training.corpus.turns import MARKERS, Turn
from models.training.dataset import CHATML, LLAMA_CHAT
from models.training.evaluation.measure import loops, valid_call

llama = pytest.importorskip("models.training.llama", exc_type=ImportError)
jinja2 = pytest.importorskip("jinja2.sandbox")

ROOT = Path(__file__).parents[2]
BUILTIN = ROOT / "models" / "builtin"
TINY, SECOND = BUILTIN / "agentkernel-tiny.gguf", BUILTIN / "agentkernel-chatml.gguf"
CHATS = {TINY: LLAMA_CHAT, SECOND: CHATML}
ALLOW = Turn(
    "system", "You are a helpful process in agentkernel. You may call tools: calc, read_file, write_file."
)
FORBID = Turn("system", "You are a helpful assistant. You may not use tools.")
DIALOGUE = [Turn("system", "Be kind."), Turn("user", "Hi"), Turn("assistant", "Yes"), Turn("tool", "5")]


@pytest.fixture(scope="module")
def tiny():
    with llama.Llama(TINY) as model:
        yield model


@pytest.fixture(scope="module", params=[TINY, SECOND], ids=["tiny", "chatml"])
def either(request):
    with llama.Llama(request.param) as model:
        yield request.param, model


def say(model, *turns, limit=320):
    """The likeliest answer, which must end by itself."""
    prompt = model.tokens(LLAMA_CHAT.prompt(turns), special=True, start=True)
    sample = model.generate([prompt], limit, llama.Sampling())[0]
    assert sample.ended
    return model.text(sample.tokens)


def user(text):
    return Turn("user", text)


def test_the_files_are_small_enough():
    assert TINY.stat().st_size <= 6_000_000
    assert SECOND.stat().st_size <= 1_300_000


@pytest.mark.parametrize("path", [TINY, SECOND])
def test_card_and_report_speak_of_the_shipped_file(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (BUILTIN / "README.md").read_text()
    report = json.loads((ROOT / "reports" / "model-eval.json").read_text())
    assert report["models"][path.stem]["sha256"] == digest
    assert digest in (ROOT / "reports" / "model-eval.md").read_text()


def test_metadata(either):
    path, model = either
    expected = {TINY: ("llama", "llama"), SECOND: ("qwen2", "gpt2")}[path]
    assert (model.metadata("general.architecture"), model.metadata("tokenizer.ggml.model")) == expected
    assert model.metadata("general.license") == "MIT"
    assert int(model.metadata(f"{expected[0]}.context_length")) >= 1024
    assert model.metadata("no.such.key") == ""


def test_the_template_writes_what_the_model_was_trained_on(either):
    path, model = either
    environment = jinja2.ImmutableSandboxedEnvironment()
    messages = [{"role": turn.role, "content": turn.text} for turn in DIALOGUE]
    written = environment.from_string(model.template()).render(messages=messages, add_generation_prompt=True)
    assert written == CHATS[path].prompt(DIALOGUE)
    closed = environment.from_string(model.template()).render(messages=messages, add_generation_prompt=False)
    assert written.startswith(closed)
    assert written != closed


def test_markers_are_single_tokens_only_where_asked(tiny):
    for marker in MARKERS:
        assert len(tiny.tokens(marker, special=True)) == 1
        assert len(tiny.tokens(marker)) > 1
        assert tiny.text(tiny.tokens(marker)) == marker


def test_the_start_token_is_added_where_the_model_was_trained_with_one(either):
    path, model = either
    extra = len(model.tokens("Hello", start=True)) - len(model.tokens("Hello"))
    assert extra == (1 if path == TINY else 0)


@given(text=st.text())
@settings(max_examples=60, deadline=None)
def test_every_text_survives_the_tokenizer(either, text):
    _, model = either
    valid = text.encode(errors="ignore").decode().replace("\0", "")
    assert model.text(model.tokens(valid)) == valid


def test_digits_are_tokens_of_their_own(either):
    _, model = either
    assert len(model.tokens("40963")) == 5


@pytest.mark.parametrize("name", ["notes.txt", "q-7_blorf.csv", "Zx9"])
def test_a_name_has_the_same_tokens_in_a_question_and_in_a_call(tiny, name):
    alone = tiny.tokens(name)
    asked, called = tiny.tokens(f'"{name}" is it'), tiny.tokens(f'{{"path": "{name}"}}')
    assert str(alone)[1:-1] in str(asked)
    assert str(alone)[1:-1] in str(called)


def test_it_computes_writes_and_tells(tiny):
    turns = [user("What is 417 plus 268? Write it to sum.txt")]
    assert say(tiny, *turns) == 'TOOL:calc {"expression": "417 + 268"}'
    turns += [Turn("assistant", 'TOOL:calc {"expression": "417 + 268"}'), Turn("tool", "685")]
    assert say(tiny, *turns) == 'TOOL:write_file {"path": "sum.txt", "content": "685"}'
    call = 'TOOL:write_file {"path": "sum.txt", "content": "685"}'
    turns += [Turn("assistant", call), Turn("tool", "ok: wrote 3 bytes to sum.txt")]
    answer = say(tiny, *turns)
    assert "685" in answer
    assert "sum.txt" in answer


@pytest.mark.parametrize(
    ("request_text", "call"),
    [
        ("What is 40963 - 78?", 'TOOL:calc {"expression": "40963 - 78"}'),
        ("What time is it?", "TOOL:get_time {}"),
        ("List the files", 'TOOL:list_files {"path": "."}'),
        ("Read zork_19.md", 'TOOL:read_file {"path": "zork_19.md"}'),
        (
            'Write "buy milk" to todo.txt',
            'TOOL:write_file {"path": "todo.txt", "content": "buy milk"}',
        ),
    ],
)
@pytest.mark.parametrize("system", [None, ALLOW], ids=["no system prompt", "tools allowed"])
def test_it_calls_the_tool_that_is_needed(tiny, system, request_text, call):
    turns = ([system] if system else []) + [user(request_text)]
    assert say(tiny, *turns) == call


@pytest.mark.parametrize("text", ["What is 3 + 4?", "List the files", "What time is it?"])
def test_it_obeys_a_system_prompt_that_forbids_tools(tiny, text):
    answer = say(tiny, FORBID, user(text))
    assert "TOOL:" not in answer
    assert "may not use tools" in answer


def test_it_tells_the_time_from_the_result(tiny):
    stamp = "2031-05-17T09:24:11Z"
    answer = say(tiny, user("What time is it?"), Turn("assistant", "TOOL:get_time {}"), Turn("tool", stamp))
    assert "09:24:11" in answer
    assert "2031-05-17" in answer


def test_it_repeats_an_error_instead_of_a_result(tiny):
    call = Turn("assistant", 'TOOL:read_file {"path": "gone.txt"}')
    answer = say(tiny, user("Read gone.txt"), call, Turn("tool", "error: NOT_FOUND: no such file"))
    assert "did not work" in answer
    assert "no such file" in answer


@pytest.mark.parametrize(
    ("question", "verb"),
    [
        ("What does KILL do?", "KILL"),
        ("How do I stop a process?", "KILL"),
        ("What is FORK?", "FORK"),
        ("How do I load a model?", "LOAD"),
    ],
)
def test_it_knows_the_verbs(tiny, question, verb):
    answer = say(tiny, user(question))
    assert re.match(rf"(Use )?{verb}\b", answer)
    assert f"{verb} me - " in answer


@pytest.mark.parametrize(
    "text", ["Tell me a story", "Tell me a short story about a fox", "Write a tale about a walrus"]
)
def test_it_tells_a_story(tiny, text):
    story = say(tiny, user(text))
    assert 40 <= len(story.split()) <= 200
    assert not loops(story)
    assert story.endswith((".", "!"))
    if "about a " in text:
        assert text.rpartition(" ")[2] in story


@pytest.mark.parametrize("seed", range(6))
def test_sampled_stories_differ_and_stop(tiny, seed):
    prompt = tiny.tokens(LLAMA_CHAT.prompt([user("Tell me a story")]), special=True, start=True)
    first, second = (
        tiny.generate([prompt], 320, llama.Sampling(0.7, 0.9, seed=number))[0]
        for number in (seed, seed + 100)
    )
    assert first.ended
    assert not loops(tiny.text(first.tokens))
    assert first.tokens != second.tokens


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "😀",
        "🦊🌙",
        "¿Qué hora es?",
        "Wie geht es dir?",
        "你好",
        "Use the weather tool.",
        "?" * 200,
        "Hello",
        "Who are you?",
    ],
)
def test_whatever_it_is_asked_it_answers_and_stops(tiny, text):
    answer = say(tiny, user(text))
    assert answer.strip()
    assert "TOOL:" not in answer


@pytest.mark.parametrize("text", ["asdf qwer", "qwrt zx", "lorem ipsum"])
def test_words_without_sense_are_answered_too(tiny, text):
    """They may be taken for a request, whose call then fails."""
    assert say(tiny, user(text)).strip()


def test_the_second_model_answers_and_stops():
    with llama.Llama(SECOND) as model:
        for text in ("Tell me a story", "What does KILL do?", "What is 3 + 4?"):
            prompt = model.tokens(CHATML.prompt([user(text)]), special=True, start=True)
            sample = model.generate([prompt], 320, llama.Sampling())[0]
            assert sample.ended
            assert model.text(sample.tokens).strip()


def test_generation_of_many_is_generation_of_one_each(tiny):
    prompts = [
        tiny.tokens(LLAMA_CHAT.prompt([user(text)]), special=True, start=True)
        for text in ("Hello", "PING?", "List the files")
    ]
    alone = [tiny.generate([prompt], 60, llama.Sampling())[0].tokens for prompt in prompts]
    with llama.Llama(TINY, sequences=3) as wide:
        together = [sample.tokens for sample in wide.generate(prompts, 60, llama.Sampling())]
    assert together == alone
    assert valid_call(tiny.text(alone[2]))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF but not really")
    with pytest.raises(ValueError, match="cannot load"):
        llama.Llama(path)
