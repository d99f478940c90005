"""An encoding is told by the letters of the languages that it is for, or not at all."""

import random

import pytest

from attention_atlas.data.encodings import sure_encoding

TEXTS = {
    "de": """Das Hotel war schön, aber die Zimmer könnten größer sein.
Für 89 Euro pro Nacht ist das Frühstück ausgezeichnet.
Leider war das Personal unhöflich und die Küche überfüllt.
Preis-Leistungs-Verhältnis stimmt, würde ich wieder kaufen.
Absolut enttäuschend, das Gerät rauscht und knistert.
Ich hätte mir mehr Tiefe bei den Figuren gewünscht.""",
    "fr": """L’hôtel était très agréable et le personnel chaleureux.
À 45 € le menu, on s’attendait à mieux.
« Un chef-d’œuvre », disait la critique ; je ne suis pas d’accord.
Très déçu par la qualité, l’écran s’est cassé au bout d’un mois.
Où est passé le service après-vente ? Ça marche depuis Noël.
Le goût est étrange, le bruit insupportable.""",
    "es": """El hotel está muy bien situado y el desayuno es buenísimo.
Por 30 € no se puede pedir más. ¡Qué película tan aburrida!
¿Cómo es posible que tarde tres semanas el envío?
El niño está encantado con su regalo de cumpleaños.
La batería dura poco y el sonido es pésimo.
Me encantó, lo leería otra vez mañana.""",
    "en": """I loved this film – it’s the best I’ve seen all year.
The “director’s cut” isn’t worth £20, or even €5.
Don’t buy it: the battery won’t last a day.
A charming little café with excellent coffee.
It’s okay… nothing special, though. A naïve story.
Beautifully written – I couldn’t put it down.""",
    "pl": """Hotel był bardzo ładny, a śniadanie pyszne.
Film jest za długi i nudny, nie polecam. Jakość jest świetna, dziękuję!
Książka wciąga od pierwszej strony. Dzieci są zachwycone, gorąco polecam.
Zażółć gęślą jaźń, tekst na próbę.""",
    "cs": """Hotel byl velmi hezký a snídaně výborná.
Film je příliš dlouhý a nudný. Personál byl nepříjemný a pokoj špinavý.
Žluťoučký kůň úpěl ďábelské ódy. Děti jsou nadšené, doporučuji.""",
    "tr": """Otel çok güzeldi ve kahvaltı mükemmeldi.
Film çok uzun ve sıkıcıydı. Kitabı çok beğendim, öneririm.
Çocuklar bayıldı, ışıl ışıl. Kargo üç haftada geldi, değmez.""",
    "ru": """Отличный фильм, мне очень понравилось.
Номер был грязный, персонал грубый. Доставка заняла три недели.
Дети в восторге от подарка. Спасибо большое, всё пришло вовремя.""",
    "el": """Το ξενοδοχείο ήταν πολύ ωραίο και το πρωινό εξαιρετικό.
Η ταινία ήταν βαρετή και μεγάλη. Το βιβλίο με συγκίνησε.""",
}
OF_WINDOWS = {"pl": "cp1250", "cs": "cp1250", "tr": "cp1254", "ru": "cp1251", "el": "cp1253"}


def rows(language: str, number: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    lines = draw.choices(TEXTS[language].splitlines(), k=number)
    return "text,label\n" + "".join(f'"{line}",{index % 2}\n' for index, line in enumerate(lines))


def read(content: bytes) -> str | None:
    found = sure_encoding(content)
    return None if found is None else content.decode(found)


@pytest.mark.parametrize("language", TEXTS)
def test_sixty_rows_as_windows_writes_them_are_certain(language: str) -> None:
    for seed in range(5):
        text = rows(language, 60, seed)
        assert read(text.encode(OF_WINDOWS.get(language, "cp1252"))) == text


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize(
    "encoding",
    [
        *("cp1250", "cp1252", "cp1254", "cp1251", "cp1253", "koi8_r", "cp850", "mac_roman"),
        *("iso8859_2", "iso8859_7", "iso8859_15"),
    ],
)
def test_a_guess_is_right_or_none(language: str, encoding: str) -> None:
    for seed, number in enumerate((2, 5, 10, 20, 60)):
        # What an encoding lacks is left out, as in a text of plain quotation marks.
        content = rows(language, number, seed).encode(encoding, "ignore")
        assert read(content) in (content.decode(encoding), None)


def test_a_letter_far_behind_counts_too() -> None:
    """Alike in all of a sample, cp1250 and cp1252 are told apart by the rest."""
    text = rows("de", 2_000)
    assert len(text.encode("cp1252")) > 2**16
    assert read(text.encode("cp1252")) == text
    far = text + "ñ und ÿ\n"
    assert read(far.encode("cp1252")) in (far, None)
