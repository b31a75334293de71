# ruff: noqa: E501, SIM905  (tables of sentences and lists of words read better as blocks)
"""The sentences that stories are made of.

Slots: hero (bare noun), a_hero, name, friend ("a mouse"), the_friend, place ("in a quiet forest"), thing, a_thing,
he/him/his and He/His for the hero. Each plot is five beats; any sentence of a beat fits any of the next.
"""

from __future__ import annotations

HEROES = tuple(
    """fox/rabbit/bear/mouse/owl/cat/dog/wolf/hedgehog/squirrel/frog/duck/goose/hen/sheep/goat/horse/donkey/cow/pig/lion/tiger/elephant/monkey/
    penguin/seal/whale/dolphin/crab/turtle/snail/ant/bee/spider/butterfly/beetle/crow/raven/swan/sparrow/parrot/dragon/giant/wizard/witch/
    knight/king/queen/princess/prince/pirate/sailor/fisherman/farmer/baker/painter/tailor/clockmaker/blacksmith/miller/gardener/teacher/doctor/
    robot/astronaut/inventor/girl/boy/child/old man/old woman/shepherd/musician/dancer/cook/postman/lighthouse keeper/librarian/kitten/puppy/
    little cloud/snowman/ghost/mermaid/dwarf/fairy/unicorn/dinosaur/camel/kangaroo/koala/otter/badger/mole/bat/deer/moose/lizard/pony/
    programmer/train driver/young wizard/tiny robot/lonely star/small boat/brave mouse/lazy cat/clever crow/shy dragon/old sailor/
    tired knight/hungry bear/curious child/kind giant/little owl""".replace("\n", "").split("/")
)
HEROES = tuple(hero.strip() for hero in HEROES)
PLACES = tuple(
    """in a quiet forest/in a small village/by the sea/on a high mountain/in a big city/in an old castle/near a deep lake/on a green hill/
    on a small island/in a warm valley/at the edge of a desert/in a dark cave/beside a wide river/in a garden full of roses/in a snowy land/
    on a farm/in a tall tower/under an old bridge/in a harbour town/in a windmill/in a hollow tree/in a lighthouse/on the moon/
    in a space station/in a library/behind the mountains/on a ship/in a narrow street/in a meadow/in a cold country far in the north/
    in a kingdom without a king/next to a railway/in a town of clocks/in a house on wheels""".replace(
        "\n", ""
    ).split("/")
)
PLACES = tuple(place.strip() for place in PLACES)
THINGS = tuple(
    """lantern/golden key/red kite/silver bell/old map/music box/blue stone/wooden flute/little boat/warm coat/green umbrella/magic book/
    glass bottle/small drum/lost letter/brass compass/bright button/copper ring/paper star/clay pot/yellow hat/old clock/white feather/
    basket of apples/pocket mirror/long rope/box of seeds/loaf of bread/tin soldier/jar of honey""".replace(
        "\n", ""
    ).split("/")
)
THINGS = tuple(thing.strip() for thing in THINGS)
TOPICS = tuple(
    "friendship courage patience luck winter summer hope honesty kindness music rain night home the-sea the-moon snow dreams time".split()
)
OPENINGS = (
    "Once upon a time, {a_hero} named {name} lived {place}.", "There was once {a_hero} called {name}, who lived {place}.",
    "{Place}, there lived {a_hero} named {name}.", "Long ago, {a_hero} named {name} had a home {place}.",
    "{name} was {a_hero} who lived {place}.", "Not so long ago, {a_hero} called {name} lived {place}.",
    "This is the story of {name}, {a_hero} who lived {place}.", "{Place} lived {a_hero} whose name was {name}.",
    "Many years ago, {a_hero} by the name of {name} lived {place}.",
)  # fmt: skip
TRAITS = (
    "Everybody liked {him}, because {he} was kind.", "{He} was small, but {he} was not afraid of anything.", "{He} loved the early morning best of all.",
    "{He} liked to ask questions.", "{He} was known for {his} good heart.", "{He} was always a little hungry.", "{He} could sing better than anyone.",
    "{His} days were calm and a little lonely.", "{He} often dreamed of far places.", "People said that {he} was stubborn, and they were right.",
    "{He} knew every path around {his} home.", "{He} had a small garden and was very proud of it.", "", "", "",
)  # fmt: skip
ENDINGS = (
    "And from that day on, {name} was never lonely again.", "That night {name} slept well.", "{name} never forgot that day.",
    "And they were friends for the rest of their lives.", "And if you listen at night, you can still hear {name} laugh.",
    "Since then, {name} has told this story many times.", "And so the day ended well.", "It was the best day of {his} life.",
    "After that, {name} went home and smiled all the way.", "And that is how {name} found out what matters.", "The end.",
    "From then on, nobody laughed at a small {hero} again.", "And everyone lived happily for many years.", "{name} was home at last.",
)  # fmt: skip
PLOTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (  # something is lost and found
        ("One day {name} lost {his} {thing}.", "One morning {his} {thing} was gone.", "On a windy day, {name} could not find {his} {thing}.", "But one evening the {thing} was not in its place."),
        ("{He} looked under every stone, but it was not there.", "{He} searched the whole house and found only dust.", "{He} asked everyone, but nobody had seen it.", "{He} walked all the way back and looked on both sides of the path."),
        ("Then {name} met {friend}, who had seen something shine.", "At last {friend} came by and offered to help.", "{Friend} heard {him} cry and sat down beside {him}.", "By chance {friend} was looking for something too."),
        ("Together they followed the tracks to an old tree.", "They searched together until the sun went down.", "They went down to the water and looked there.", "They climbed a wall and looked from above."),
        ("There was the {thing}, safe and dry.", "Under the leaves lay the {thing}.", "And there it was: the {thing} had only rolled away.", "{Friend} pointed, and there lay the {thing}."),
    ),
    (  # a storm
        ("One night a great storm came.", "In autumn a storm rose over the land.", "One evening the sky turned black.", "Suddenly the wind began to roar."),
        ("The wind broke the roof, and the rain came in.", "Trees fell, and the road was closed.", "All the lights went out.", "The water rose higher and higher."),
        ("{name} heard {friend} call for help.", "Outside, {friend} was lost in the rain.", "Through the window {name} saw {friend}, wet and afraid.", "Then {friend} knocked at the door."),
        ("{He} took {his} {thing} and ran out into the dark.", "{He} opened the door and shouted into the wind.", "{He} did not wait and went out at once.", "{He} was afraid too, but {he} went."),
        ("Hand in hand they reached the house, and they waited by the fire until morning.", "They found shelter under a rock and told each other stories until the storm was over.", "When the sun came back, they repaired the roof together.", "In the morning the sky was blue, and they had breakfast together."),
    ),
    (  # a wish to learn
        ("{name} wanted to learn to play the flute.", "More than anything, {name} wanted to learn how to swim.", "{name} wished to learn to read.", "One day {name} decided to learn to dance."),
        ("At first everything went wrong.", "The first try was a disaster, and everybody laughed.", "It was harder than {he} had thought.", "For a whole week {he} made no progress at all."),
        ("Then {friend} offered to teach {him}.", "But {friend} said: you only need a little patience.", "{Friend} saw this and showed {him} how to begin.", "Only {friend} did not laugh and stayed to help."),
        ("They practised every evening.", "Day after day they tried again.", "Slowly it went better, step by step.", "{name} fell, stood up and tried once more."),
        ("In spring {he} could do it as if {he} had never done anything else.", "At the summer feast everybody clapped.", "And one day it simply worked.", "In the end {he} was so good that others came to learn from {him}."),
    ),
    (  # a journey
        ("One day {name} left home to see the world.", "One spring morning {name} packed a bag and {a_thing} and set out.", "{name} had heard of a place where the sun never sets, and {he} set out to find it.", "One day a letter came: {name} was invited to the other end of the land."),
        ("The road was long and full of stones.", "{He} walked for three days and saw nobody.", "{He} crossed two rivers and a dark wood.", "On the second day {he} lost the way."),
        ("At a crossroads {he} met {friend}.", "In a small inn {he} found {friend}, who was going the same way.", "Beside the road sat {friend}, tired and hungry.", "There {friend} asked: may I come with you?"),
        ("{name} shared {his} bread, and they went on together.", "They sang as they walked, and the road seemed shorter.", "They helped each other over the rocks.", "{Friend} knew the way, and {name} had {a_thing}; that was enough."),
        ("When they arrived, the whole valley shone in the evening light.", "At last they stood at the sea and could say nothing for joy.", "They found the place, and it was even better than the stories.", "In the end they saw that the journey had been the best part."),
    ),
    (  # a strange neighbour
        ("One day {friend} moved in next door.", "A new neighbour came: {friend}.", "Since spring {friend} lived near by.", "Then {friend} came to stay."),
        ("Nobody talked to the newcomer.", "Everybody said that strangers bring bad luck.", "Strange noises came from the house every night.", "{name} was afraid and kept the door shut."),
        ("But one evening {name} took {his} {thing} and knocked.", "Then {name} saw a light in the window and went to look.", "One day {name} was brave enough to say hello.", "But when {name} was ill, it was {the_friend} who brought soup."),
        ("They drank tea and talked until midnight.", "{The_friend} showed {him} a workshop full of toys.", "It turned out that {the_friend} was only building a telescope.", "{name} saw that {the_friend} was just as shy as {he} was."),
        ("Soon they visited each other every day.", "The next day {name} told everybody, and they all came with cake.", "At night they looked at the stars together.", "Now the two of them were seen together everywhere."),
    ),
    (  # a contest
        ("Every year there was a great race, and this time {name} wanted to win.", "One day a contest was announced: who builds the best boat?", "The mayor offered a prize for the best cake.", "In summer there was a contest of songs."),
        ("Everybody said that {friend} would win.", "The others were bigger and faster.", "{name} had never won anything.", "There was little time left."),
        ("{name} practised day and night.", "{He} had an idea and told nobody.", "{He} worked hard, and {his} {thing} brought {him} luck.", "{He} got up before the sun every day."),
        ("On the day of the contest, {friend} was in trouble, and {name} stopped to help.", "Just before the end, {name} saw that {friend} needed help.", "Then {friend} lost everything in an accident, and {name} shared what {he} had.", "In the middle of it all {friend} fell, and {name} turned back."),
        ("{name} came last, but the crowd cheered for {him}.", "They reached the goal together, and both got the prize.", "The prize went to another, but {name} had won a friend.", "The mayor saw it and gave the prize to {name}."),
    ),
    (  # a dry summer
        ("One summer it did not rain for weeks.", "One year the well ran dry.", "One hot day the river stopped flowing.", "There came a summer that was too hot."),
        ("The plants turned brown, and everybody was thirsty.", "The animals became tired and sad.", "Nobody knew what to do.", "The old people shook their heads."),
        ("{name} remembered a spring in the hills.", "{name} read about a hidden spring in an old book.", "{Friend} told {name} of a lake behind the rocks.", "In a dream {name} saw where the water was."),
        ("{He} went there with {friend} and dug for two days.", "{He} and {friend} moved the big stone that closed the spring.", "With a shovel and {a_thing}, {he} and {friend} opened the way.", "Together with {friend}, {he} dug a long channel."),
        ("Then the water came, clear and cold.", "Soon the water ran down to the houses, and everybody danced.", "On the third day the water flowed again.", "The next morning the fields were green."),
    ),
    (  # a strange find
        ("One morning {name} found {a_thing} in the grass.", "While walking, {name} found {a_thing}.", "On {his} birthday {name} found {a_thing} at the door.", "After the rain {name} saw {a_thing} on the path."),
        ("When {he} touched it, it began to glow.", "It was warm, as if it were alive.", "A small voice came out of it.", "There was a name on it that {he} could not read."),
        ("{name} showed it to {friend}.", "{He} asked {friend} what it was.", "Soon {friend} came and asked for it.", "{Friend} knew at once what it was."),
        ("It had been lost for a hundred years, said {the_friend}.", "It belongs to the moon, said {the_friend}.", "It grants one wish, said {the_friend}.", "It shows the way home, said {the_friend}."),
        ("{name} thought for a long time and then gave it back.", "{name} wished for rain for the gardens, and it rained.", "So they brought it back to where it belonged.", "{name} kept it and used it only to help others."),
    ),
    (  # fear of the dark
        ("{name} was afraid of the dark.", "{name} never went out at night.", "When the sun went down, {name} always hid.", "{name} had one secret: {he} feared the night."),
        ("One evening {he} had to go through the forest.", "But one night {his} light went out.", "One day {he} came home too late.", "Then came the longest night of the year."),
        ("{He} heard steps and held {his} breath.", "Something moved in the dark.", "Two eyes looked at {him}.", "{He} heard a soft voice."),
        ("But it was only {friend}, who was afraid too.", "It was {friend}, and {the_friend} laughed kindly.", "It was {friend}, who had lost the way.", "Then {friend} came out and said: do not be afraid."),
        ("Together they looked up, and the sky was full of stars.", "They walked on side by side, and the dark was not so dark any more.", "{name} lit {his} {thing}, and they found the way home.", "They counted the stars until they were no longer afraid."),
    ),
    (  # too much work alone
        ("{name} wanted to build a house.", "{name} had planted a big garden.", "{name} wanted to repair an old boat.", "{name} had promised to bake a hundred cakes."),
        ("{He} said: I can do it alone.", "{He} did not want any help.", "{He} worked from morning to night.", "{He} began with great joy."),
        ("But after three days {he} was tired out.", "But soon everything went wrong.", "But then {his} {thing} broke.", "But there was far too much to do."),
        ("{Friend} asked: why do you not ask for help?", "Then {friend} came and simply started to work.", "{name} sat down, and {friend} sat down too.", "At last {name} asked {friend} for help."),
        ("Together they needed only one day.", "With four hands the work was a game.", "Before evening it was done, and it was beautiful.", "They finished it and had a feast."),
    ),
    (  # the baby bird or other guest
        ("One cold day {name} found a small bird in the snow.", "One day a tired bird landed at {his} window.", "{name} heard a faint cry and found a little bird.", "In the grass {name} found a bird with a hurt wing."),
        ("It could not fly.", "It was too weak to sing.", "It trembled and looked at {him}.", "It was hungry and alone."),
        ("{name} carried it home and gave it water.", "{He} made a nest out of {his} hat.", "{He} fed it with crumbs every hour.", "{He} kept it warm all night."),
        ("{Friend} helped and brought seeds.", "{Friend} said that it would not live, but {name} did not give up.", "{Friend} came every day to see how it was.", "Even {friend} sang for it."),
        ("After a week the bird flew away, and in spring it came back with two others.", "One morning it sang, and then it flew into the blue sky.", "When it could fly again, it showed {name} the way to a secret garden.", "Every year since, it has come back to sing for {name}."),
    ),
    (  # a lie is put right
        ("One day {name} broke {his} neighbour's {thing}.", "By accident {name} broke the {thing} of {friend}.", "{name} borrowed {a_thing} from {friend} and lost it.", "One day {name} ate the cake of {friend}."),
        ("{He} said nothing and went home.", "{He} said that the wind had done it.", "{He} hid and hoped that nobody had seen it.", "{He} told everybody that {he} knew nothing."),
        ("But that night {he} could not sleep.", "But the lie felt heavy as a stone.", "But {friend} was so sad that {name} felt ashamed.", "But the next day someone else was blamed."),
        ("So {name} went to {friend} and told the truth.", "At last {he} took all {his} courage and told {friend} everything.", "In the morning {he} said: it was me.", "{name} asked {friend} to forgive {him}."),
        ("{The_friend} was silent for a while and then smiled.", "Together they made a new one, and it was better than the old one.", "{The_friend} said: thank you for telling me.", "{name} felt as light as a feather."),
    ),
)  # fmt: skip
REQUESTS = (
    "Tell me {s}.", "Write {s}.", "Tell {s}.", "Can you tell me {s}?", "Please tell me {s}.", "I want {s}.", "I would like {s}.", "Write me {s}.",
    "Could you write {s}?", "Make up {s}.", "Give me {s}.", "Let me hear {s}.", "I want to hear {s}.", "Please write {s}.", "{S}, please.",
    "Do you know {s}?", "Invent {s}.", "My child wants {s}.", "Read me {s}.", "Begin {s}.", "We need {s}.", "Would you tell us {s}?", "{S}",
)  # fmt: skip
NOUNS = ("a story", "a story", "a story", "a short story", "a short story", "a tale", "a short tale", "a little story", "a bedtime story", "a fairy tale", "a nice story", "a funny story", "a story for children", "another story", "a very short story", "one more story", "a good story", "an old tale")  # fmt: skip
ABOUT = ("about", "about", "about", "about", "of", "on", "with")
