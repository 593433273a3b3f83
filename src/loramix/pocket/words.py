"""The words that the pocket tasks and the pocket base's own text are made of.

Content that must be held out (names, places, aspects, things) is split by position: every
sixth word belongs to the test set alone. Words that carry meaning rather than identity
(adjectives, verbs) are shared, since nobody can guess what an unseen word means.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal, TypeVar

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

T = TypeVar("T")


def pool(items: Sequence[T], split: Split) -> list[T]:
    """The part of `items` that `split` may use: every sixth for test, the others for the rest."""
    if split == "test":
        return list(items[5::6])
    return [item for index, item in enumerate(items) if index % 6 != 5]


def bucket(key: object) -> Split:
    """The split that owns a piece of content (a problem's numbers, a program): 10 % test, dev."""
    digit = zlib.crc32(repr(key).encode()) % 10
    return "test" if digit == 0 else "dev" if digit == 1 else "train"


def phrases(text: str) -> list[str]:
    """The phrases of a block, one between bars or a line."""
    return [part.strip() for line in text.splitlines() for part in line.split("|") if part.strip()]


ASPECTS = phrases("""
battery | screen | keyboard | camera | delivery | packaging | support team | price | zipper | strap
handle | lid | motor | charger | cable | search | checkout | login | sync | dark mode | staff
breakfast | room | pool | bed | shower | wifi | food | soup | waiter | music | plot | acting
soundtrack | ending | manual | website | refund | invoice | display | speaker | microphone | mouse
design | fabric | color | size | fit | sound | picture quality | battery life | customer service
setup | installation | update | interface | menu | map | widget | calendar | reminders | export
backup | password reset | sign up | video call | chat window | service desk | driver | courier
tracking | return process | warranty | assembly | instructions | wheels | seat | frame | hinge
blade | pump | filter | timer | remote | fan | heater | lamp | mattress | pillow | jacket | boots
coffee | dessert | pizza | salad | parking | garden | view | balcony | lobby | reception | elevator
tour guide | boat trip | ticket office | lecture | course material | exercises | teacher | graphics
controls | story | levels | loading time | voice | dialogue | cast | stitching | buttons | touchpad
speed | printer | scanner | ink | paper tray | notifications | payment page | gift card | coupon
subscription | newsletter | playlist | photo editor | file upload | spell check | translation
mobile app | desktop version | response time | cleaning | towels | air conditioning | curtains
playground | bar | cocktails | sauce | bread | portions | table service | opening hours
""")

GOOD = phrases("""
great | excellent | wonderful | fantastic | superb | lovely | brilliant | amazing | perfect
impressive | delightful | outstanding | pleasant | terrific | splendid | awesome | very good
first class | beautiful | charming | reliable | solid | smooth | flawless | a joy | a delight
a pleasure | better than I expected | well made | worth every cent | really nice | a real treat
spot on | a hit | top notch | remarkably good | fresh and good | clever | helpful | comfortable
""")

BAD = phrases("""
terrible | awful | horrible | dreadful | poor | bad | disappointing | useless | annoying
frustrating | a mess | a disaster | a letdown | broken | defective | unreliable | faulty
not working | worse than I expected | badly made | a waste of money | really weak | painful
a nightmare | very bad | unacceptable | lousy | miserable | shoddy | a joke | far too slow
full of problems | a big disappointment | a constant hassle | cheap and flimsy | ugly | boring
dirty | clumsy | uncomfortable
""")

LIKE = phrases("""
love | like | really like | enjoy | adore | appreciate | am happy with | am very pleased with
am impressed by | am delighted with | am thrilled with | am so glad about | cannot praise enough
was pleasantly surprised by | am a big fan of | am fully satisfied with
""")

DISLIKE = phrases("""
hate | dislike | really dislike | regret | am unhappy with | am disappointed by | am fed up with
am frustrated with | am annoyed by | am upset about | cannot stand | am not happy with
had trouble with | had endless problems with | was let down by | am very dissatisfied with
""")

PRODUCTS = phrases("""
phone | laptop | tablet | headset | kettle | toaster | vacuum cleaner | blender | backpack | tent
bicycle | scooter | desk | chair | sofa | monitor | router | watch | lawn mower | drill | mixer
hotel | restaurant | cafe | museum | cinema | cruise | campsite | gym | spa | app | game | movie
book | album | podcast | online course | train ride | flight | rental car | coffee machine | oven
washing machine | fridge | hair dryer | shaver | stroller | suitcase | raincoat | sweater | guitar
piano | telescope | thermostat | doorbell | smart lamp | sewing machine | fitness band | hostel
""")

FIRST = phrases("""
Anna | Ben | Clara | David | Emma | Felix | Grace | Henry | Ida | Jack | Karen | Leo | Maria | Nina
Oscar | Paul | Quinn | Rosa | Sam | Tara | Uma | Victor | Wendy | Xavier | Yara | Zoe | Adam | Bella
Carl | Diana | Eric | Fiona | George | Helen | Ivan | Julia | Kevin | Laura | Mark | Nora | Oliver
Petra | Ralph | Sofia | Tom | Ursula | Vera | Walter | Yusuf | Amir | Chen | Divya | Elena | Farid
Gita | Hugo | Irene | Jonas | Kofi | Lena | Mina | Noah | Omar | Priya | Rafael | Selma | Tina
""")

LAST = phrases("""
Keller | Novak | Smith | Brown | Garcia | Silva | Mori | Patel | Okafor | Jensen | Rossi | Dubois
Weber | Fischer | Lopez | Murphy | Kowalski | Petrov | Nakamura | Ali | Hassan | Larsen | Costa
Moreau | Schmidt | Bauer | Hughes | Walker | Young | Carter | Reed | Stone | Wood | Hill | Field
Marsh | Banks | Cole | Dean | Frost | Gray | Hart | Irwin | Jordan | Knight | Lane | Mason | Nash
""")

CITIES = phrases("""
Lyon | Oslo | Porto | Madrid | Berlin | Vienna | Prague | Dublin | Lisbon | Warsaw | Athens | Rome
Milan | Naples | Geneva | Zurich | Hamburg | Munich | Cologne | Krakow | Riga | Tallinn | Vilnius
Skopje | Cairo | Tunis | Nairobi | Lagos | Accra | Dakar | Lima | Quito | Bogota | Santiago
Toronto | Boston | Denver | Dallas | Seattle | Chicago | Austin | Phoenix | Kyoto | Osaka | Seoul
Hanoi | Manila | Delhi | Mumbai | Perth | Sydney | Auckland | Glasgow | Bristol | Leeds | York
""")

JOBS = phrases("""
baker | teacher | nurse | farmer | pilot | doctor | painter | singer | lawyer | plumber | gardener
carpenter | dentist | driver | engineer | writer | cook | tailor | librarian | electrician | judge
chemist | photographer | musician | mechanic | architect | waiter | sailor | actor | designer
banker | firefighter | journalist | translator | butcher | fisherman | clerk | vet | miner | weaver
""")

HOBBIES = phrases("""
chess | painting | hiking | swimming | cycling | gardening | reading | fishing | dancing | singing
cooking | pottery | knitting | sailing | skiing | tennis | football | archery | photography | yoga
climbing | running | baking | origami | bird watching | astronomy | surfing | fencing | rowing
golf
""")

ANIMALS = phrases("""
cat | dog | parrot | rabbit | hamster | goat | horse | turtle | canary | goldfish | donkey | duck
pony | lizard | sheep | pig | goose | ferret | snake | hen | mouse | cow | owl | frog
""")

COLORS = phrases("""
red | blue | green | yellow | black | white | brown | orange | purple | pink | gray | silver
golden
turquoise | beige | violet | crimson | olive
""")

THINGS = phrases("""
apples | pears | books | pens | coins | stamps | marbles | cards | eggs | cookies | tickets | shells
stickers | balloons | candles | bottles | cups | plates | chairs | flowers | trees | buttons | keys
lemons | oranges | plums | nuts | bricks | boxes | bags | toys | kites | photos | letters | badges
peaches | carrots | onions | potatoes | muffins | postcards | pencils | notebooks | ribbons
""")

COMPANIES = phrases("""
Northwind | Bluepeak | Solara | Greenleaf | Ironbridge | Halden | Meridian | Kestrel | Lumina
Orchard
Pinecrest | Redwood | Silverline | Tidewater | Umbra | Vantage | Westfield | Aurora | Beacon
Cobalt
Driftwood | Everest | Foxglove | Granite | Harbor | Indigo | Juniper | Kingsley | Larkspur | Monarch
""")

GOODS = phrases("""
bicycles | shoes | furniture | chocolate | solar panels | watches | toys | glass bottles | tractors
umbrellas | software | carpets | paper | medicine | lamps | pianos | boats | tents | cheese | bread
helmets | cameras | soap | ceramics | engines | batteries | clocks | jackets | tea | spices
""")

WEEKDAYS = phrases("Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday")
MONTHS = phrases("""
January | February | March | April | May | June | July | August | September | October | November
December
""")
