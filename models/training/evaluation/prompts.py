"""The evaluation's cases: held-out forms filled by the corpus's own makers, with another seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from models.training.corpus import chat, stories, story_parts, systems, tools, two_step, verbs, words
from models.training.corpus.turns import Conversation, Task, Turn
from models.training.corpus.verb_facts import VERBS
from models.training.evaluation import held_out

SEED = 4_711_000
PER_CATEGORY = 264


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out prompt: the task tells what is right, `keyword` is a word to look for in the answer."""

    category: str
    task: Task
    system: str = ""
    keyword: str = ""

    def turns(self, steps: int = 0) -> Conversation:
        """What the model sees after `steps` right calls and their results."""
        told = self.task.turns()[: 1 + 2 * steps]
        return (Turn("system", self.system), *told) if self.system else told


def _system(random: Random) -> str:
    """No system prompt, one that allows tools, or one that speaks of neither."""
    draw = random.random()
    stance = "allow" if draw < 0.3 else "plain" if draw < 0.4 else ""
    return systems.system(random, stance, held_out.SYSTEMS) if stance else ""


def _tool_cases(random: Random, category: str, maker: tools.Maker) -> list[Case]:
    return [Case(category, maker(random, held_out.HELD_OUT), _system(random)) for _ in range(PER_CATEGORY)]


def _verb_cases(random: Random) -> list[Case]:
    """Six prompts a verb in each category, in new forms: by name, by a known wish, by a new wish."""
    cases = []
    for verb in VERBS * 6:
        cases.append(
            Case("verb named", verbs.named(random, held_out.HELD_OUT, verb), _system(random), verb.name)
        )
        cases.append(
            Case("verb wished", verbs.wished(random, held_out.HELD_OUT, verb), _system(random), verb.name)
        )
        new = verbs.wished(random, held_out.HELD_OUT, verb, held_out.WISHES[verb.name])
        cases.append(Case("verb wished anew", new, _system(random), verb.name))
    return cases


def _story_cases(random: Random) -> list[Case]:
    """Stories on heroes that the training set knows, does not know, or leaves open."""
    cases = []
    for i in range(PER_CATEGORY):
        hero = ("", random.choice(story_parts.HEROES), random.choice(held_out.HEROES))[i % 3]
        phrase = stories.Wish(hero=hero).phrase(random.choice(story_parts.NOUNS), "about")
        request = random.choice(held_out.STORIES).format(s=phrase)
        cases.append(Case("story", Task("story", request, (), ""), _system(random), hero))
    return cases


def _talk_cases(random: Random) -> list[Case]:
    """Prompts that need no tool, requests where tools are forbidden, and input that is no English request."""
    cases = []
    for _ in range(PER_CATEGORY):
        text = random.choice(held_out.CHAT)
        filled = text.format(
            x=words.word(random), y=words.word(random), n=words.number(random), p=words.file_name(random)
        )
        cases.append(Case("no tool", Task("chat", filled, (), ""), _system(random)))
        forbidden = chat.forbidden(tools.single(random, held_out.HELD_OUT))
        cases.append(Case("tools forbidden", forbidden, systems.system(random, "forbid", held_out.SYSTEMS)))
        cases.append(Case("odd input", chat.odd(random, tuple(held_out.FOREIGN)), _system(random)))
    return cases


_OTHERS = (
    tools.append_file,
    tools.delete_file,
    tools.search_text,
    tools.python,
    tools.shell,
    tools.sleep,
    tools.ask_human,
    tools.mem_read,
    tools.mem_write,
)


def cases() -> list[Case]:
    """All cases, the same ones on every call."""
    random = Random(SEED)
    found = _story_cases(random) + _verb_cases(random)
    for category, maker in (
        ("arithmetic", tools.calc), ("read a file", tools.read_file), ("write a file", tools.write_file),
        ("list files", tools.list_files), ("tell the time", tools.get_time),
    ):  # fmt: skip
        found += _tool_cases(random, category, maker)
    found += _tool_cases(random, "other tools", lambda r, forms: r.choice(_OTHERS)(r, forms))
    found += _tool_cases(random, "two steps", two_step.double)
    return found + _talk_cases(random)
