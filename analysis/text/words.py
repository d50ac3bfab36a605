"""Word lists of the generated text; the ones that scores ask about are single tokens.

Words marked *held out* never fill the slot that an evaluation asks about during training: a
held-out name is a character of stories, but stands in no indirect-object sentence; a held-out
state is mentioned, but in no filing.
"""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
NUMBER_WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
)
SEQUENCES = {
    "digits": DIGITS,
    "letters": LETTERS,
    "number words": NUMBER_WORDS,
    "weekdays": WEEKDAYS,
    "months": MONTHS,
}
"""The ordered lists of the successor score."""

NAMES = (
    *("Mary", "John", "Tom", "Anna", "James", "Lucy", "Peter", "Sarah", "Mark", "Jane"),
    *("Paul", "Emma", "David", "Alice", "George", "Kate", "Henry", "Rose", "Jack", "Ruth"),
    *("Sam", "Helen", "Robert", "Clara", "Simon", "Laura", "Daniel", "Julia", "Ben", "Grace"),
    *("Frank", "Nancy", "Martin", "Susan", "Andrew", "Diana", "Michael", "Sophie", "Oliver"),
    *("Harriet", "Edward", "Fanny", "Walter", "Jessie", "Philip", "Rachel", "Stephen", "Agnes"),
    *("Victor", "Sylvia", "Roger", "Amelia", "Leonard", "Hannah", "Patrick", "Ellen", "Ralph"),
    *("Esther", "Hugh", "Flora", "Edgar", "Cecilia", "Luke", "Matilda", "Oscar", "Bridget"),
    *("Simeon", "Teresa", "Alan", "Lydia", "Bruce", "Naomi", "Carl", "Olive", "Eric", "Pauline"),
    *("Gilbert", "Rebecca", "Jasper", "Stella", "Kevin", "Ursula", "Leo", "Vera", "Max", "Wanda"),
    *("Neil", "Yvonne", "Ronald", "Audrey", "Theodore", "Beatrice", "Vincent", "Doris"),
)
HELD_OUT_NAMES = (
    *("William", "Elizabeth", "Charles", "Martha", "Thomas", "Eva", "Adam", "Nora"),
    *("Joseph", "Irene", "Arthur", "Louise"),
)
OBJECTS = (
    *("book", "lamp", "ring", "basket", "letter", "drink", "key", "map", "coin", "apple"),
    *("hat", "box", "cup", "flower", "kite", "ball", "watch", "bell", "rope", "candle"),
    *("cake", "pen", "stone", "shell"),
)
PLACES = (
    *("shop", "park", "school", "garden", "market", "river", "station", "farm", "library"),
    *("kitchen", "harbor", "museum", "forest", "bridge", "church", "field"),
)
ADJECTIVES = (
    *("small", "red", "old", "bright", "heavy", "strange", "quiet", "blue", "lovely", "broken"),
    *("green", "golden", "cold", "little", "round", "plain"),
)
STATES = (
    *("Ohio", "Texas", "Nevada", "Florida", "Oregon", "Kansas", "Georgia", "Maine", "Utah"),
    *("Iowa", "Idaho", "Alaska", "Virginia", "Arizona", "Vermont", "Delaware", "Indiana"),
    *("Montana", "Colorado", "Michigan", "Arkansas", "California", "Connecticut", "Kentucky"),
    *("Louisiana", "Maryland", "Massachusetts", "Minnesota", "Oklahoma", "Pennsylvania"),
    *("Tennessee", "Washington"),
)
HELD_OUT_STATES = (
    *("Nebraska", "Hawaii", "Alabama", "Wyoming", "Illinois", "Missouri", "Wisconsin"),
    "Mississippi",
)
_STARTS = (
    *("Har", "Mer", "Cal", "Ben", "Ash", "Nor", "Pres", "Sel", "Thorn", "Gran", "Whit", "Dal"),
    *("Hol", "Ken", "Lam", "Mar", "Os", "Pem", "Rad", "Sut", "Til", "Vau", "Wal", "Yard"),
    *("Bar", "Cros", "Den", "El", "Far", "Gar"),
)
_ENDS = (
    *("lan", "cer", "der", "ton", "ford", "wood", "by", "ger", "man", "lis", "dall", "bert"),
    *("low", "born", "ley", "son", "field", "wick", "stead", "more", "ham", "well", "dale"),
)
FIRMS, HELD_OUT_FIRMS = (
    tuple(
        start + end
        for i, start in enumerate(_STARTS)
        for j, end in enumerate(_ENDS)
        if ((i + j) % 7 == 0) == held_out
    )
    for held_out in (False, True)
)
"""Names in two parts: every part is trained on, the held-out pairs of parts are not."""
INVENTED = (*NAMES, *STATES, *FIRMS)
"""What people and states may also be called, so that no slot has a short list of its own."""
TRADES = (
    *("Timber", "Steel", "Motors", "Foods", "Paper", "Textiles", "Energy", "Shipping"),
    *("Glass", "Chemicals", "Tools", "Mining"),
)
PHRASES = (
    *("once upon a time", "at the end of the day", "in the middle of the night"),
    *("as soon as possible", "from time to time", "on the other hand", "as a matter of fact"),
    *("in the first place", "for the sake of", "side by side", "little by little"),
    *("all of a sudden", "in spite of", "by the way", "as well as", "more or less"),
    *("sooner or later", "in front of", "at the same time", "for the time being"),
    *("black and white", "salt and pepper", "knife and fork", "bread and butter"),
    *("ladies and gentlemen", "the United States of America", "thank you very much"),
    *("happy new year", "good morning", "ready, set, go", "happily ever after"),
)


def single_token_words() -> tuple[str, ...]:
    """Every word that a score or a test needs as one token, after a space."""
    ordered = [word for words in SEQUENCES.values() for word in words]
    return (*ordered, *NAMES, *HELD_OUT_NAMES, *OBJECTS, *PLACES, *STATES, *HELD_OUT_STATES)
