"""Short stories: a request that may fix hero, friend, place, thing or name, and a story that keeps to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from models.training.corpus import story_parts as parts
from models.training.corpus import words
from models.training.corpus.dress import dress
from models.training.corpus.turns import Task

_PRONOUNS = (("he", "him", "his"), ("she", "her", "her"))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request fixes; an empty string leaves the choice to the teller."""

    hero: str = ""
    friend: str = ""
    place: str = ""
    thing: str = ""
    name: str = ""
    topic: str = ""

    def phrase(self, noun: str, about: str) -> str:
        """The wish in words, such as "a story about a fox and a crow by the sea"."""
        if self.topic:
            return f"{noun} about {self.topic}"
        if not self.hero:
            return noun
        named = f" named {self.name}" if self.name else ""
        second = f" and {article(self.friend or self.thing)}" if self.friend or self.thing else ""
        return f"{noun} {about} {article(self.hero)}{named}{second}" + (
            f" {self.place}" if self.place else ""
        )


def article(noun: str) -> str:
    """The noun behind "a" or "an"."""
    return f"{'an' if noun[0].lower() in 'aeiou' and not noun.startswith('unicorn') else 'a'} {noun}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def noun(random: Random, known: Sequence[str]) -> str:
    """A noun from the list, or in one of six cases an invented one, so that any noun can be followed."""
    return random.choice(known) if random.random() < 0.84 else words.syllables(random, 1, 3)


def wish(random: Random) -> Wish:
    """Draw what a request fixes."""
    draw = random.random()
    if draw < 0.14:
        return Wish()
    if draw < 0.19:
        return Wish(topic=random.choice(parts.TOPICS).replace("-", " "))
    hero = noun(random, parts.HEROES)
    friend = noun(random, parts.HEROES) if random.random() < 0.3 else ""
    thing = noun(random, parts.THINGS) if not friend and random.random() < 0.15 else ""
    name = (
        random.choice((*words.FIRST_NAMES, words.syllables(random, 1, 2).capitalize()))
        if random.random() < 0.12
        else ""
    )
    return Wish(hero, friend, random.choice(parts.PLACES) if random.random() < 0.15 else "", thing, name)


def tell(random: Random, w: Wish) -> str:
    """A story of about 60 to 160 tokens that keeps to the wish."""
    hero = w.hero or random.choice(parts.HEROES)
    friend = w.friend or random.choice([h for h in parts.HEROES if h != hero])
    thing, place = w.thing or random.choice(parts.THINGS), w.place or random.choice(parts.PLACES)
    he, him, his = random.choice(_PRONOUNS)
    name = w.name or random.choice(words.FIRST_NAMES)
    slots = {
        "hero": hero, "a_hero": article(hero), "name": name, "friend": article(friend),
        "the_friend": f"the {friend}", "place": place,
        "thing": thing, "a_thing": article(thing), "he": he, "him": him, "his": his, "He": _capital(he),
        "His": _capital(his),
        "Place": _capital(place), "Friend": _capital(article(friend)), "The_friend": f"The {friend}",
    }  # fmt: skip
    beats = [parts.OPENINGS, parts.TRAITS, *random.choice(parts.PLOTS), parts.ENDINGS]
    told = [line.format(**slots) for line in (random.choice(beat) for beat in beats) if line]
    if not _mention(friend).search(" ".join(told)):
        told.insert(-1, f"{_capital(article(friend))} saw it all and was glad.")
    if w.topic:
        told.append(f"That is a story about {w.topic}.")
    return _introduce_once(" ".join(told), friend)


def _mention(friend: str) -> re.Pattern[str]:
    """Finds "a friend" and "the friend", also at the start of a sentence."""
    return re.compile(rf"\b(?:an?|the) {re.escape(friend)}\b", re.IGNORECASE)


def _introduce_once(text: str, friend: str) -> str:
    """Make the first mention of the friend "a friend" and every later one "the friend"."""
    introduced = False

    def mention(found: re.Match[str]) -> str:
        nonlocal introduced
        said = f"the {friend}" if introduced else article(friend)
        introduced = True
        return _capital(said) if found[0][0].isupper() else said

    return _mention(friend).sub(mention, text)


def story(random: Random, requests: Sequence[str] = parts.REQUESTS) -> Task:
    """A request for a story, in one of the given forms, and the story."""
    w = wish(random)
    phrase = w.phrase(random.choice(parts.NOUNS), random.choice(parts.ABOUT))
    request = random.choice(requests).format(s=phrase, S=_capital(phrase))
    return Task("story", dress(random, request, (w.name,) if w.name else ()), (), tell(random, w))
