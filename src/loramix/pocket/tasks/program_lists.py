"""Small functions of lists, written one by one: each in words, its name, its body.

Said as in program_texts.py.
"""

from __future__ import annotations

from loramix.pocket.tasks.program_texts import Row

LIST: tuple[Row, ...] = (
    ("the average of a list of numbers|the mean of the numbers in a list"
     "|~compute the average of a list|~average the numbers in a list", "mean",
     "sum(items) / len(items)"),
    ("the median of a list|the middle one of the sorted numbers|~find the median of a list",
     "median", "sorted(items)[len(items) // 2]"),
    ("a list reversed|a list backwards|~reverse a list|~turn a list around", "reverse_list",
     "items[::-1]"),
    ("a list without duplicates|the different items of a list|~remove the duplicates from a list"
     "|~remove duplicates from a list|~drop what stands twice in a list|~deduplicate a list",
     "remove_duplicates",
     "list(dict.fromkeys(items))"),
    ("the first item of a list|the first element of a list|~get the first item of a list",
     "first_item", "items[0]"),
    ("the last item of a list|the last element of a list|~get the last item of a list",
     "last_item", "items[-1]"),
    ("the length of a list|how many items a list has|~count the items of a list", "list_length",
     "len(items)"),
    ("the second largest number of a list|the second biggest in a list"
     "|~find the second largest number in a list", "second_largest", "sorted(set(items))[-2]"),
    ("the second smallest number of a list|~find the second smallest number in a list",
     "second_smallest", "sorted(set(items))[1]"),
    ("the difference between the largest and the smallest number of a list|the range of a list"
     "|~subtract the smallest number of a list from the largest", "spread",
     "max(items) - min(items)"),
    ("the product of all numbers in a list|~multiply all numbers in a list", "product",
     "__import__('math').prod(items)"),
    ("every second item of a list|every other element of a list|~take every second item of a list",
     "every_second", "items[::2]"),
    ("the first three items of a list|~take the first three items of a list", "first_three_items",
     "items[:3]"),
    ("the last three items of a list|~take the last three items of a list", "last_three_items",
     "items[-3:]"),
    ("a list without its first item|~drop the first item of a list", "without_first", "items[1:]"),
    ("a list without its last item|~drop the last item of a list", "without_last", "items[:-1]"),
    ("a list sorted from large to small|a list in descending order"
     "|~sort a list from large to small|~sort a list in descending order", "sort_down",
     "sorted(items, reverse=True)"),
    ("the position of the largest number in a list|~find where the largest number of a list stands",
     "index_of_max", "items.index(max(items))"),
    ("the position of the smallest number in a list|~find the index of the smallest number",
     "index_of_min", "items.index(min(items))"),
    ("whether a list is empty|~check if a list is empty", "list_is_empty", "len(items) == 0"),
    ("whether a list is sorted|if a list is in order|~check if a list is sorted", "is_sorted",
     "items == sorted(items)"),
    ("whether a list has duplicates|if some item stands twice in a list"
     "|~check if a list contains duplicates", "has_duplicates", "len(items) != len(set(items))"),
    ("whether all numbers of a list are positive|~check if all numbers in a list are above zero",
     "all_positive", "all(n > 0 for n in items)"),
    ("whether all numbers of a list are even|~check if every number in a list is even",
     "all_even", "all(n % 2 == 0 for n in items)"),
    ("the most common item of a list|the most frequent number in a list"
     "|~find the item that occurs most often in a list", "most_common",
     "max(items, key=items.count)"),
    ("how often each item occurs in a list|a dictionary of items and their counts"
     "|~count how often each item is in a list", "item_counts",
     "{item: items.count(item) for item in items}"),
    ("the running sums of a list|~list the cumulative sums of a list", "running_sums",
     "[sum(items[:i + 1]) for i in range(len(items))]"),
    ("the numbers of a list as texts|~turn each number of a list into a text", "to_texts",
     "[str(item) for item in items]"),
    ("the numbers of a list joined by commas|~join the numbers of a list with commas",
     "join_commas", "', '.join(str(item) for item in items)"),
    ("every number of a list plus one|~add one to every number in a list", "add_one",
     "[n + 1 for n in items]"),
    ("every number of a list times three|~triple each number of a list", "triple_all",
     "[n * 3 for n in items]"),
    ("every number of a list times ten|~multiply each number in a list by ten", "times_ten_all",
     "[n * 10 for n in items]"),
    ("the sum of the largest and the smallest number of a list"
     "|~add the largest and the smallest number of a list", "sum_of_ends",
     "max(items) + min(items)"),
    ("the three largest numbers of a list|~find the three biggest numbers in a list", "top_three",
     "sorted(items)[-3:]"),
    ("a list with each item twice|~repeat a list twice", "list_twice", "items * 2"),
    ("pairs of position and item|~number the items of a list", "numbered",
     "list(enumerate(items))"),
    ("the middle item of a list|~get the middle item of a list", "middle_item",
     "items[len(items) // 2]"),
    ("the first and the last item of a list|~get the first and the last item of a list",
     "both_ends", "[items[0], items[-1]]"),
)  # fmt: skip
LIST_AND_ITEM: tuple[Row, ...] = (
    ("how often an item occurs in a list|the number of times a number appears in a list"
     "|~count how often a given number is in a list", "count_item", "items.count(item)"),
    ("whether an item is in a list|if a list contains a number|~check if a number is in a list",
     "is_in_list", "item in items"),
    ("the position of an item in a list|~find the index of a number in a list", "index_of",
     "items.index(item)"),
    ("a list without a given item|~remove a given number from a list", "without_item",
     "[n for n in items if n != item]"),
    ("a list with an item added at the end|~append an item to a list", "append_item",
     "items + [item]"),
    ("a list with each number multiplied by a factor|~multiply every number of a list by a factor",
     "scale_list", "[n * item for n in items]"),
    ("a list with a number added to each|~add a given number to each number of a list",
     "shift_list", "[n + item for n in items]"),
    ("the numbers of a list that are greater than a limit|~keep the numbers above a given limit",
     "above_limit", "[n for n in items if n > item]"),
    ("the numbers of a list that are less than a limit|~keep the numbers below a given limit",
     "below_limit", "[n for n in items if n < item]"),
)  # fmt: skip
TWO_LISTS: tuple[Row, ...] = (
    ("two lists as one list|two lists joined|~join two lists|~merge two lists into one",
     "join_lists", "first + second"),
    ("the items that two lists share|the common elements of two lists"
     "|~find the items that are in both lists", "common_items",
     "[item for item in first if item in second]"),
    ("the items of a list that are not in another|the difference of two lists"
     "|~find what is in one list and not in the other", "missing_items",
     "[item for item in first if item not in second]"),
    ("a list of pairs from two lists|~pair up the items of two lists|~zip two lists",
     "zip_lists", "list(zip(first, second))"),
    ("a dictionary from a list of keys and a list of values|~make a dictionary of two lists",
     "to_dict", "dict(zip(first, second))"),
    ("two lists merged and sorted|~merge two lists and sort them", "merge_sorted",
     "sorted(first + second)"),
    ("the sums of the numbers of two lists one by one|~add two lists item by item", "add_lists",
     "[a + b for a, b in zip(first, second)]"),
    ("the products of the numbers of two lists one by one|~multiply two lists item by item",
     "multiply_lists", "[a * b for a, b in zip(first, second)]"),
    ("the dot product of two lists|~compute the dot product of two lists", "dot_product",
     "sum(a * b for a, b in zip(first, second))"),
)  # fmt: skip
