"""What the users of the demo month chat about: harmless, and not from real people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    title: str
    turns: tuple[tuple[str, str], ...]


FIRST_NAMES = (
    *("Ada", "Alan", "Amalia", "Anton", "Barbara", "Bruno", "Carla", "Cem", "Daria", "Dmitri"),
    *("Edith", "Elias", "Emmy", "Farid", "Fatima", "Grace", "Hannah", "Hugo", "Ines", "Ivan"),
    *("Jonas", "Karin", "Kofi", "Lena", "Lucia", "Mads", "Maria", "Mei", "Milan", "Nadia"),
    *("Nils", "Noor", "Olga", "Omar", "Paula", "Pedro", "Quinn", "Rosa", "Ruben", "Sara"),
    *("Sofia", "Tariq", "Tessa", "Tomas", "Uma", "Vera", "Wanda", "Yusuf", "Zoe", "Zora"),
)
LAST_NAMES = (
    *("Almeida", "Berg", "Castell", "Dahl", "Egede", "Fontana", "Grau", "Holm", "Ibsen", "Jansen"),
    *("Keller", "Lindt", "Moreau", "Novak", "Okafor", "Petrov", "Quist", "Rossi", "Sato", "Torres"),
)

TOPICS = (
    Topic(
        "A week of dinners",
        (
            (
                "Plan five vegetarian dinners for two, none longer than 30 minutes.",
                "Here is a week that shares its ingredients:\n\n| Day | Dinner | Minutes |\n|---|---|---|\n"
                "| Mon | Lentil soup with lemon | 25 |\n| Tue | Spinach omelette, salad | 15 |\n"
                "| Wed | Chickpea curry, rice | 30 |\n| Thu | Pasta with roasted peppers | 25 |\n"
                "| Fri | Bean tacos, avocado | 20 |\n\nBuy lentils, chickpeas and beans in one go.",
            ),
            (
                "Make Wednesday less spicy, and give me the shopping list.",
                "Use sweet paprika instead of chilli on Wednesday.\n\n- 250 g red lentils\n- 2 tins of "
                "chickpeas\n- 1 tin of black beans\n- 6 eggs\n- spinach, peppers, avocado\n- rice, "
                "pasta, tortillas\n- 2 lemons",
            ),
        ),
    ),
    Topic(
        "Sorting a list in Python",
        (
            (
                "How do I sort a list of dictionaries by two keys, the second descending?",
                "Sort by a tuple, and negate what is a number:\n\n```python\npeople.sort(key=lambda p: "
                '(p["city"], -p["age"]))\n```\n\nIf the second key is text, sort twice: the sort is '
                'stable.\n\n```python\npeople.sort(key=itemgetter("name"), reverse=True)\n'
                'people.sort(key=itemgetter("city"))\n```',
            ),
            (
                "Does stable mean that equal items keep their order?",
                "Yes. Items whose keys are equal stay in the order they had, so the second sort keeps "
                "what the first one did inside each city.",
            ),
        ),
    ),
    Topic(
        "Email to a landlord",
        (
            (
                "Write a polite mail to my landlord: the heating in the bathroom has been cold since Monday.",
                "**Subject: Heating in the bathroom**\n\nHello,\n\nsince Monday the radiator in the "
                "bathroom has stayed cold, while the others work. I have opened the valve and bled it, "
                "without success.\n\nCould you send somebody this week? I am at home on Thursday and "
                "Friday after 3 pm.\n\nKind regards",
            ),
        ),
    ),
    Topic(
        "Why leaves turn red",
        (
            (
                "Why do leaves turn red in autumn?",
                "In autumn the tree stops making chlorophyll, the green pigment, and takes back what is "
                "useful in it. The yellow pigments were there all along and now show. Red ones "
                "(anthocyanins) are made anew from sugar that is still in the leaf, most of all on sunny "
                "days with cold nights.",
            ),
            (
                "And why does the tree bother to make them?",
                "It is not settled. The most usual explanation is protection: they shade the leaf while "
                "it is taken apart, so that the light does less damage.",
            ),
        ),
    ),
    Topic(
        "Quarterly numbers in one paragraph",
        (
            (
                "Summarise: revenue up 12 %, costs up 4 %, two new customers, hiring paused until spring.",
                "Revenue grew by 12 % while costs rose by only 4 %, so the margin improved. Two new "
                "customers joined. Hiring is paused until spring to keep that lead.",
            ),
            (
                "Shorter, for a slide.",
                "- Revenue +12 %, costs +4 %\n- Two new customers\n- Hiring resumes in spring",
            ),
        ),
    ),
    Topic(
        "SQL: the latest row of each group",
        (
            (
                "In Postgres, how do I get the latest order of each customer?",
                "`distinct on` says it in one go:\n\n```sql\nselect distinct on (customer_id) *\nfrom "
                "orders\norder by customer_id, created_at desc;\n```\n\nAn index on `(customer_id, "
                "created_at desc)` makes it quick.",
            ),
        ),
    ),
    Topic(
        "Two days in Lisbon",
        (
            (
                "Two days in Lisbon in March, we like walking and old books.",
                "**Day one**: Alfama in the morning, before the trams fill; then down to the Baixa, and "
                "the Livraria Bertrand, which has sold books since 1732.\n\n**Day two**: along the river "
                "to Belém, the monastery before ten, and back by train. In the evening the viewpoint of "
                "Graça.\n\nMarch has showers: take a jacket that minds none.",
            ),
            (
                "How far is the walk to Belém?",
                "About 7 km from the Praça do Comércio, flat, along the water: two hours with a pause.",
            ),
        ),
    ),
    Topic(
        "Explaining inflation to a child",
        (
            (
                "Explain inflation to a ten-year-old.",
                "Imagine that every child gets more pocket money, but the shop has no more sweets than "
                "before. Soon the shop asks for more coins for each sweet. Your coins look the same, and "
                "they buy less. That is inflation.",
            ),
        ),
    ),
    Topic(
        "Naming a sailing club's newsletter",
        (
            (
                "Ten names for the newsletter of a small sailing club.",
                "1. The Halyard\n2. Fair Winds\n3. Log of the Week\n4. Leeward\n5. The Bowline\n6. Slack "
                "Tide\n7. Dry Dock\n8. Close Hauled\n9. The Mooring\n10. Ebb and Flow",
            ),
            (
                "I like the fifth. A subtitle?",
                "*The Bowline: a knot that holds our members together.*",
            ),
        ),
    ),
    Topic(
        "A regular expression for dates",
        (
            (
                "A regular expression for dates like 2026-03-01, please.",
                "```\n\\b\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])\\b\n```\n\nIt lets 2026-02-31 "
                "through: whether a day exists is better asked of a date library.",
            ),
        ),
    ),
    Topic(
        "Preparing for an interview",
        (
            (
                "Which questions should I ask at the end of a job interview?",
                "- What would I have done after three months that makes you glad you hired me?\n- How are "
                "decisions made when two of you disagree?\n- What has changed in the team in the last "
                "year, and why?\n- What is tedious about this job?",
            ),
            (
                "Is the last one not too direct?",
                "Asked with a smile it is welcome: whoever answers it honestly tells you more than all "
                "the others.",
            ),
        ),
    ),
    Topic(
        "Bread that rises",
        (
            (
                "My sourdough doesn't rise. What can I check?",
                "Most often it is the starter or the temperature:\n\n1. A spoon of starter should float in "
                "water.\n2. Below 20 °C everything takes twice as long.\n3. Judge by the dough, not by the "
                "clock: it should have grown by half and wobble.",
            ),
        ),
    ),
)
