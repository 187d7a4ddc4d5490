"""What a command printed, as one line of words."""


def words_of(text):
    """The text without the panel's frame and line breaks."""
    return " ".join(text.replace("│", "").split())
