"""Images and shared prefixes, as the kernel and a scripted engine play them."""

import pytest

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.pages import Rate, Tier
from agentkernel.process import Owner, State, Wait
from tests.by_hand import ME, Screen, boot, run, settle, words

STRANGER = Owner(77, "stranger")
LONG = "x" * 200  # tokens, in a scripted engine
SLOTS = {"slots": 4, "context": 1024}


async def share_prefix(bench, **second):
    """Run a process on LONG to its end, then start another; the Grant that one got."""
    await bench.exec(LONG + " first", max_tokens=1)
    bench.finish()
    await bench.exec(LONG + " second", max_tokens=1, **second)
    grant = bench.sent(port.Grant)[-1]
    bench.finish()
    return grant


@pytest.mark.parametrize(
    ("second", "shared"),
    [
        ({}, 200 + 1),  # the blank after it, too
        ({"share": "none"}, 0),
        ({"share": "public"}, 0),
        ({"owner": STRANGER}, 0),
    ],
    ids=["same owner", "shares nothing", "another group", "another owner"],
)
def test_a_finished_process_gives_its_prefix_to_its_trust_group_only(tmp_path, second, shared):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        grant = await share_prefix(bench, **second)
        assert (grant.donor, grant.prefix) == ((1, shared) if shared else (0, 0))
        assert bench.kernel.models.current().paging.counts["share"] == bool(shared)

    run(main())


@pytest.mark.parametrize("share", ["public", "group:team"])
def test_owners_who_chose_a_group_share_in_it(tmp_path, share):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG, max_tokens=1, share=share)
        bench.finish()
        await bench.exec(LONG, max_tokens=1, owner=STRANGER, share=share)
        assert bench.sent(port.Grant)[-1].donor == 1

    run(main())


def test_a_short_common_prefix_is_not_worth_sharing(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec("y" * 31 + "a", max_tokens=1)
        bench.finish()
        await bench.exec("y" * 31 + "b", max_tokens=1)
        assert bench.sent(port.Grant)[-1].donor == 0

    run(main())


def test_prompts_that_arrive_together_are_computed_once(tmp_path):
    """The second gets its slot and waits until the first has read so much, but for a few tokens."""

    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG + " first", max_tokens=2)
        second = await bench.exec(LONG + " second", max_tokens=2)
        assert second.state is State.RUNNING
        assert [grant.pid for grant in bench.sent(port.Grant)] == [1]
        read = 0
        while len(bench.sent(port.Grant)) == 1:
            bench.step()
            read += 1
        assert read > 1
        assert bench.sent(port.Grant)[1:] == [port.Grant(2, 1, donor=1, prefix=192)]
        bench.finish()
        assert bench.screen.text == {1: words(2), 2: words(2)}

    run(main())


def test_who_shares_a_little_more_with_one_that_waits_itself_does_not_wait_for_that(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG + " first", max_tokens=2)
        for name in ("second", "seventh"):
            await bench.exec(f"{LONG} {name}", max_tokens=2)
        while len(bench.sent(port.Grant)) == 1:
            bench.step()
        assert [(grant.pid, grant.donor) for grant in bench.sent(port.Grant)[1:]] == [(2, 1), (3, 1)]

    run(main())


def test_of_an_ended_process_no_copy_is_made_for_less_than_the_copy_takes(tmp_path):
    """At 1 ms a token and 10 ms a copy, of use to one of four: 40 tokens that are nobody else's."""

    class Fixed(Rate):
        def observe(self, units, ms):
            pass

    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        rates = bench.kernel.models.current().paging.pager.rates
        rates.prefill, rates.page_out = Fixed(), Fixed()
        rates.prefill.value, rates.page_out.value = 1.0, 10.0
        for prompt in ("y" * 38, LONG, LONG + "y" * 38, LONG + "y" * 60, LONG + "z" * 60):
            await bench.exec(prompt, max_tokens=1)
            bench.finish()
        assert [close.keep for close in bench.sent(port.Close)] == [False, True, False, True, True]

    run(main())


@pytest.mark.parametrize("loss", ["kill", "suspend", "die"])
def test_who_waits_for_a_prefix_goes_on_when_it_will_not_come(tmp_path, loss):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG + " first", max_tokens=2)
        await bench.exec(LONG + " second", max_tokens=2)
        if loss == "kill":
            bench.kernel.kill(ME, 1)
        elif loss == "suspend":
            bench.kernel.suspend(ME, 1)
        else:
            bench.engine.die()
            await settle()
        bench.finish()
        assert bench.screen.text[2] == words(2)

    run(main())


def test_who_is_killed_while_it_waits_for_a_prefix_is_never_granted(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG + " first", max_tokens=2)
        await bench.exec(LONG + " second", max_tokens=2)
        bench.kernel.kill(ME, 2)
        bench.finish()
        assert {grant.pid for grant in bench.sent(port.Grant)} == {1}
        bench.kernel.models.current().scheduler.check_integrity()

    run(main())


def test_who_is_displaced_while_it_waits_for_a_prefix_is_granted_no_slot_of_anothers(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine={"slots": 2, "context": 1024})
        await bench.exec(LONG + " first", max_tokens=2)
        await bench.exec(LONG + " second", max_tokens=2)
        await bench.exec("urgent", priority="critical", max_tokens=50)
        await bench.exec("urgent", priority="critical", max_tokens=50)
        holders = {}
        for command in bench.engine.sent:
            if isinstance(command, port.Grant):
                assert command.slot not in holders.values()
                holders[command.pid] = command.slot
            elif isinstance(command, port.Revoke):
                holders.pop(command.pid, None)
        bench.finish()
        grants = [grant.pid for grant in bench.sent(port.Grant)]
        assert grants.index(2) > grants.index(4)
        assert bench.screen.text == {1: words(2), 2: words(2), 3: words(50), 4: words(50)}

    run(main())


def test_a_preempted_process_goes_on_from_its_image(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine={"slots": 1, "context": 1024})
        first = await bench.exec(LONG, max_tokens=60)
        bench.step(5)
        said = first.generated
        read = bench.kernel.models.current().prompt_tokens
        await bench.exec("urgent", priority="critical", max_tokens=3)
        assert (first.state, first.phase) == (State.READY, "queued")
        bench.finish()
        paging = bench.kernel.models.current().paging
        assert said > 0
        assert paging.counts["in"] == 1
        assert bench.kernel.models.current().prompt_tokens - read == len("urgent") - 1
        assert bench.screen.text == {1: words(60), 2: words(3)}

    run(main())


def test_a_waiting_process_gives_its_slot_and_goes_on_from_its_image(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine={"slots": 1, "context": 1024})
        await bench.exec(LONG, interactive=True, max_tokens=2)
        bench.finish()
        await bench.exec("z" * 50, max_tokens=2, share="none")
        bench.finish()
        paging = bench.kernel.models.current().paging
        assert paging.pager.entry(1).tier is Tier.RAM
        await bench.kernel.send_input(ME, 1, "again", bench.screen)
        bench.finish()
        assert paging.counts["in"] == 1
        assert bench.screen.text[1] == words(2) + words(2)
        paging.pager.check_integrity()

    run(main())


def test_over_the_budget_of_memory_images_go_to_disk_and_over_that_they_are_dropped(tmp_path):
    """A token of a scripted engine's context is 1 KiB; room for one image, on either tier."""

    async def main():
        memory = {"ram_mb": 1, "disk_mb": 1}
        bench = await boot(tmp_path, engine={"slots": 1, "context": 4096}, memory=memory)
        paging = bench.kernel.models.current().paging
        for letter in "abc":
            await bench.exec(letter * 700, interactive=True, max_tokens=2)
            bench.finish()
        await bench.exec("d" * 700, interactive=True, max_tokens=2)
        bench.finish()
        assert bench.sent(port.Store)
        assert bench.sent(port.Drop)
        paging.pager.check_integrity()
        for pid in range(1, 5):
            await bench.kernel.send_input(ME, pid, "more", bench.screen)
            bench.finish()
            assert bench.screen.text[pid] == words(2) + words(2)

    run(main())


def test_with_paging_off_slots_are_all_there_is(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine={"slots": 1, "context": 1024}, memory={"paging": "off"})
        await bench.exec(LONG, interactive=True, max_tokens=2)
        bench.finish()
        await bench.exec(LONG, max_tokens=2)
        bench.finish()
        assert bench.sent(port.Revoke) == [port.Revoke(1, keep=False)]
        await bench.kernel.send_input(ME, 1, "again", bench.screen)
        bench.finish()
        assert bench.screen.text[1] == words(2) + words(2)
        assert not bench.kernel.models.current().paging.counts

    run(main())


def test_children_go_on_where_the_parent_stood_each_by_itself(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        parent = await bench.exec(LONG, max_tokens=10)
        bench.step(8)
        said = parent.generated
        assert 0 < said < 10
        screen = Screen()
        children = await bench.kernel.fork(ME, 1, 2, screen)
        await settle()
        assert len({process.plan.sampling.seed for process in [parent, *children]}) == 3
        bench.finish()
        assert bench.screen.text[1] == words(10)
        for child in children:
            assert screen.text[child.pid] == words(10 - said, start=said)
            assert child.generated == 10 - said
        donors = {grant.pid: grant.donor for grant in bench.sent(port.Grant)}
        assert all(donors[child.pid] for child in children)

    run(main())


def test_children_of_a_process_that_waits_for_input_wait_for_input(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG, interactive=True, max_tokens=3)
        bench.finish()
        screen = Screen()
        (child,) = await bench.kernel.fork(ME, 1, 1, screen)
        await settle()
        assert (child.wait, child.generated, screen.text) == (Wait.INPUT, 0, {})
        await bench.kernel.send_input(ME, child.pid, "go", screen)
        bench.finish()
        assert screen.text[child.pid] == words(3)
        assert bench.kernel.find(ME, 1).generated == 3

    run(main())


def test_nobody_forks_anothers_process_or_while_the_kernel_stops(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG, max_tokens=3)
        with pytest.raises(KernelError, match="FORBIDDEN"):
            await bench.kernel.fork(STRANGER, 1, 1, None)
        bench.kernel.draining = True
        with pytest.raises(KernelError, match="SHUTTING_DOWN"):
            await bench.kernel.fork(ME, 1, 1, None)

    run(main())


@pytest.mark.parametrize("full", ["table", "engine"])
def test_a_fork_that_fails_leaves_neither_children_nor_their_places(tmp_path, full):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS, limits={"processes": 4})
        parent = await bench.exec(LONG, max_tokens=3, interactive=True)
        bench.finish()
        opened, opens = bench.engine.open, []

        async def refuse_the_second(request):
            opens.append(request)
            if len(opens) == 2:
                raise KernelError("MEMORY_ADMISSION")
            return await opened(request)

        bench.engine.open = refuse_the_second
        with pytest.raises(KernelError, match="SPAWN_FAILED" if full == "table" else "MEMORY_ADMISSION"):
            await bench.kernel.fork(ME, 1, 4 if full == "table" else 3, bench.screen)
        bench.engine.open = opened
        assert list(bench.kernel.table) == [parent]
        assert bench.screen.ends == {}
        assert len(await bench.kernel.fork(ME, 1, 3, None)) == 3

    run(main())


def test_who_waits_for_a_prefix_gets_no_more_of_it_than_is_still_its_own(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG, max_tokens=1)
        process = await bench.exec(LONG, max_tokens=1)
        assert [grant.pid for grant in bench.sent(port.Grant)] == [1]
        bench.kernel.models.current().splice(process, 50, 60)
        bench.step()
        grant = bench.sent(port.Grant)[-1]
        assert (grant.pid, grant.donor, grant.prefix) == (2, 1, 50)

    run(main())


def test_nothing_is_counted_for_processes_that_have_ended(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine=SLOTS)
        await bench.exec(LONG, max_tokens=1)
        bench.finish()
        paging = bench.kernel.models.current().paging
        assert paging.moved(0).outs == 1
        assert set(paging.moves) == {0}

    run(main())
