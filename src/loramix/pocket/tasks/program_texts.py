"""Small functions of texts and words, written one by one: each in words, its name, its body.

What it returns stands as a thing ("the number of words in a text"), what it does as a step behind
a `~` ("count the words in a text"). A program that nobody has seen cannot be put together from
these, so they train and are not in the test set.
"""

from __future__ import annotations

Row = tuple[str, str, str]  # ways to say it | name | what stands after `return`

TEXT: tuple[Row, ...] = (
    ("a text reversed|the text backwards|~reverse a text|~turn a text around", "reverse_text",
     "text[::-1]"),
    ("a text in upper case|a text in capital letters|~make a text upper case"
     "|~capitalize all of a text", "to_upper", "text.upper()"),
    ("a text in lower case|a text in small letters|~make a text lower case", "to_lower",
     "text.lower()"),
    ("the number of words in a text|how many words a text has|~count the words in a text",
     "count_words", "len(text.split())"),
    ("the number of vowels in a text|how many vowels a text has|~count the vowels in a text",
     "count_vowels", "sum(c in 'aeiou' for c in text.lower())"),
    ("whether a text is a palindrome|if a text reads the same backwards"
     "|~check if a text is a palindrome|~tell if a text is the same forwards and backwards",
     "is_palindrome", "text.lower() == text.lower()[::-1]"),
    ("the first letter of a text|the first character of a text|~get the first letter of a text",
     "first_letter", "text[0]"),
    ("the last letter of a text|the last character of a text|~get the last letter of a text",
     "last_letter", "text[-1]"),
    ("the length of a text|how many characters a text has|~count the characters of a text"
     "|~measure how long a text is", "text_length", "len(text)"),
    ("the words of a text as a list|a list of the words in a text|~split a text into words",
     "split_words", "text.split()"),
    ("a text without spaces|a text with all spaces removed|~remove the spaces from a text"
     "|~delete all spaces in a text", "remove_spaces", "text.replace(' ', '')"),
    ("the longest word in a text|the longest word of a text|~find the longest word in a text",
     "longest_word", "max(text.split(), key=len)"),
    ("the words of a text in alphabetical order|the sorted words of a text"
     "|~sort the words of a text", "sort_words", "sorted(text.split())"),
    ("the number of different letters in a text|how many different characters a text has"
     "|~count the different characters in a text", "count_different", "len(set(text))"),
    ("a text with the first letter in upper case|a capitalized text"
     "|~capitalize the first letter of a text", "capitalize_text", "text.capitalize()"),
    ("a text repeated twice|a text two times|~repeat a text twice", "repeat_twice", "text * 2"),
    ("the shortest word in a text|~find the shortest word of a text", "shortest_word",
     "min(text.split(), key=len)"),
    ("the words of a text in reverse order|a text with its words backwards"
     "|~reverse the order of the words in a text|~turn the words of a text around",
     "reverse_words", "' '.join(text.split()[::-1])"),
    ("a text with every word reversed|~reverse each word of a text", "reverse_each_word",
     "' '.join(w[::-1] for w in text.split())"),
    ("a text with each word capitalized|a text in title case|~capitalize every word of a text"
     "|~make the first letter of each word big", "title_case", "text.title()"),
    ("a text without vowels|~remove all vowels from a text|~strip the vowels from a text"
     "|~delete the vowels in a text", "remove_vowels",
     "''.join(c for c in text if c not in 'aeiouAEIOU')"),
    ("the number of consonants in a text|~count the consonants in a text", "count_consonants",
     "sum(c.isalpha() and c not in 'aeiou' for c in text.lower())"),
    ("the number of capital letters in a text|how many upper case letters a text has"
     "|~count the capital letters in a text|~count the uppercase letters of a text",
     "count_upper", "sum(c.isupper() for c in text)"),
    ("the number of lower case letters in a text|~count the lowercase letters in a text",
     "count_lower", "sum(c.islower() for c in text)"),
    ("the number of digits in a text|how many digits stand in a text|~count the digits in a text",
     "count_digits_in_text", "sum(c.isdigit() for c in text)"),
    ("only the digits of a text|~keep only the digits of a text|~pull the digits out of a text",
     "keep_digits", "''.join(c for c in text if c.isdigit())"),
    ("only the letters of a text|~keep only the letters in a text"
     "|~drop all but the letters of a text", "keep_letters",
     "''.join(c for c in text if c.isalpha())"),
    ("the number of spaces in a text|~count the spaces in a text", "count_spaces",
     "text.count(' ')"),
    ("the number of lines in a text|~count the lines of a text", "count_lines",
     "len(text.splitlines())"),
    ("the number of sentences in a text|~count the full stops in a text", "count_stops",
     "text.count('.')"),
    ("a text with spaces replaced by underscores|~replace the spaces of a text with underscores",
     "spaces_to_underscores", "text.replace(' ', '_')"),
    ("a text with spaces replaced by dashes|~replace the spaces of a text by hyphens"
     "|~put dashes in place of the spaces", "spaces_to_dashes", "text.replace(' ', '-')"),
    ("a text with upper and lower case swapped|~swap upper and lower case in a text",
     "swap_case", "text.swapcase()"),
    ("a text without spaces at its ends|~trim a text|~strip the spaces around a text",
     "trim_text", "text.strip()"),
    ("the first word of a text|~get the first word of a text", "first_word", "text.split()[0]"),
    ("the last word of a text|~get the last word in a text", "last_word", "text.split()[-1]"),
    ("a list of the lengths of the words in a text|how long each word of a text is"
     "|~list the length of every word in a text", "word_lengths",
     "[len(w) for w in text.split()]"),
    ("the initials of a name|the first letters of the words in a text"
     "|~get the initials of a name|~make an acronym of a text", "initials",
     "''.join(w[0].upper() for w in text.split())"),
    ("the number of times each letter occurs in a text|a dictionary of letters and their counts"
     "|~count how often each letter occurs in a text", "letter_counts",
     "{c: text.count(c) for c in text}"),
    ("how often each word occurs in a text|a dictionary of words and their counts"
     "|~count how often each word is in a text", "word_counts",
     "{w: text.split().count(w) for w in text.split()}"),
    ("the most common letter in a text|the most frequent character of a text"
     "|~find the most common character in a text", "most_common_letter",
     "max(text, key=text.count)"),
    ("a text without its first letter|~remove the first character of a text", "drop_first",
     "text[1:]"),
    ("a text without its last letter|~remove the last character of a text", "drop_last",
     "text[:-1]"),
    ("the first three letters of a text|~get the first three characters of a text", "first_three",
     "text[:3]"),
    ("the last three letters of a text|~get the last three characters of a text", "last_three",
     "text[-3:]"),
    ("every second letter of a text|~take every other letter of a text", "every_second_letter",
     "text[::2]"),
    ("whether a text is empty|~check if a text is empty", "is_empty", "len(text) == 0"),
    ("whether a text holds a digit|if there is a digit in a text"
     "|~check if a text contains a number", "has_digit", "any(c.isdigit() for c in text)"),
    ("whether a text begins with a capital letter|~check if a text starts with a capital letter",
     "starts_upper", "text[0].isupper()"),
    ("whether a text starts with a vowel|~check if a text begins with a vowel", "starts_with_vowel",
     "text[0].lower() in 'aeiou'"),
    ("whether a text ends with a question mark|if a text is a question"
     "|~check if a text ends with a question mark", "is_question", "text.endswith('?')"),
    ("the letters of a text in alphabetical order|the sorted letters of a text"
     "|~sort the letters of a text", "sort_letters", "''.join(sorted(text))"),
    ("the different words of a text|the set of words in a text|~collect the unique words of a text",
     "unique_words", "set(text.split())"),
    ("how many different words a text has|the number of unique words in a text"
     "|~count the unique words in a text", "count_unique_words", "len(set(text.split()))"),
    ("a list of the letters of a text|~turn a text into a list of characters"
     "|~split a text into letters", "to_letters", "list(text)"),
    ("a text with double spaces made single|~collapse the spaces in a text", "single_spaces",
     "' '.join(text.split())"),
    ("a text with an exclamation mark at the end|~add an exclamation mark to a text", "exclaim",
     "text + '!'"),
    ("a greeting for a name|hello and the name|~greet a person by name|~say hello to a name",
     "greet", "'Hello, ' + text + '!'"),
)  # fmt: skip
TEXT_AND_LETTER: tuple[Row, ...] = (
    ("how often a letter occurs in a text|the number of times a character appears in a text"
     "|~count how many times a letter is in a text|~count a given letter in a text",
     "count_letter", "text.count(letter)"),
    ("whether a text contains a letter|~check if a letter is in a text", "has_letter",
     "letter in text"),
    ("a text without a given letter|~remove a letter from a text", "remove_letter",
     "text.replace(letter, '')"),
    ("the position of a letter in a text|~find where a letter stands in a text", "find_letter",
     "text.find(letter)"),
    ("whether a text starts with a given letter|~check if a text begins with a certain letter",
     "starts_with", "text.startswith(letter)"),
    ("whether a text ends with a given letter|~check if a text ends with a certain letter",
     "ends_with", "text.endswith(letter)"),
)  # fmt: skip
TWO_TEXTS: tuple[Row, ...] = (
    ("whether two words are anagrams|if two texts have the same letters"
     "|~check if two words are anagrams of each other", "are_anagrams",
     "sorted(first) == sorted(second)"),
    ("two texts joined by a space|a first and a last name as one name"
     "|~join two texts with a space|~put a first and a last name together", "join_texts",
     "first + ' ' + second"),
    ("the longer of two texts|the longer one of two words|~find the longer of two words",
     "longer_text", "max(first, second, key=len)"),
    ("whether two texts are the same without regard to case"
     "|~compare two texts without looking at upper and lower case", "same_text",
     "first.lower() == second.lower()"),
    ("whether one text contains another|~check if a text stands in another text", "contains_text",
     "second in first"),
    ("the letters that two texts share|~find the letters that are in both texts",
     "common_letters", "set(first) & set(second)"),
)  # fmt: skip
WORDS: tuple[Row, ...] = (
    ("the longest word in a list|~find the longest word of a list", "longest_in_list",
     "max(words, key=len)"),
    ("the shortest word in a list|~find the shortest word of a list", "shortest_in_list",
     "min(words, key=len)"),
    ("a list of words joined by spaces|~join a list of words with spaces", "join_words",
     "' '.join(words)"),
    ("the words of a list in upper case|~make all words of a list upper case", "upper_words",
     "[w.upper() for w in words]"),
    ("the lengths of the words in a list|~list the length of each word", "lengths",
     "[len(w) for w in words]"),
    ("the words of a list sorted by length|~sort words by their length", "sort_by_length",
     "sorted(words, key=len)"),
    ("the words of a list that start with a vowel|~keep the words that begin with a vowel",
     "vowel_words", "[w for w in words if w[0].lower() in 'aeiou']"),
    ("the words of a list with more than three letters|~keep the words longer than three letters",
     "long_words", "[w for w in words if len(w) > 3]"),
    ("the words of a list in alphabetical order|~sort a list of words alphabetically",
     "sort_word_list", "sorted(words)"),
    ("the first letters of the words in a list|~get the first letter of each word",
     "first_letters", "[w[0] for w in words]"),
    ("a dictionary of words and their lengths|~map each word to its length", "length_by_word",
     "{w: len(w) for w in words}"),
    ("the total number of letters in a list of words|~count all letters in a list of words",
     "total_letters", "sum(len(w) for w in words)"),
)  # fmt: skip
