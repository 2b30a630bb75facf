"""Mutants of what is said about hosts: their environment, and the readings of their tools."""

from __future__ import annotations

from tests.mutants.mutant import mutants_of

OF_ENVIRONMENT = (
    *mutants_of(
        "environment",
        ("if topology.nodes < 2:", "if topology.nodes < 9:", "the network between machines is not asked about"),
        ("    elif not own_data:", "    elif own_data:", "a generated set of any size passes"),
        ("    if pretrained_backbone:", "    if not device:", "any backbone passes"),
        ("elif not found and answer.verdict != DIFFERS:", "elif not answer:", "nobody hears why nothing was found"),
        ("        for host in hosts:", "        for host in hosts[:1]:", "only the first host is looked at"),
        ("            if text or found:", "            if found:", "what was not found is not asked"),
        ("if is_demand(text)", "if text", "a text that fits every machine fails some"),
    ),
    *mutants_of(
        "environment_rules",
        ("MATCH if count >= int", "MATCH if count <= int", "too few cards pass"),
        ("<= CAPACITY_TOLERANCE * wanted", "<= 10 * CAPACITY_TOLERANCE * wanted", "cards of another size pass"),
        ('    if facts.os_of == "image":', '    if facts.os_of == "":', "an image's system passes for its host's"),
        ("answer = worst(compare_model", "answer = best(compare_model", "one right card excuses the others"),
        ("if len(kinds - {UNKNOWN}) == 1", "if kinds", "of several kinds of cards the right one is taken"),
        ("found.startswith(BACKBONE_SHA256)", "len(found) > 0", "any backbone passes"),
        ("MATCH if found == wanted", "MATCH if found <= wanted", "a part of the data set passes"),
        ("else [data.train_images, data.train_listed]", "else [data.train_images]", "what is listed is not counted"),
    ),
    *mutants_of(
        "stated_texts",
        ("if found == stated:", "if found[:1] == stated[:1]:", "versions agree in their first digit"),
        (" + _GOES_ON, found", ", found", "3.8 agrees with 3.80"),
        ("|[-._~]?(?:rc|alpha|beta|dev|pre|nightly))", ")", "what comes before a release agrees with it"),
        ('    if "+" not in stated and', "    if", "a build agrees with another of its number"),
        (">= _padded(wanted, width)", "<= _padded(wanted, width)", "an older version passes for a later one"),
        ("and not sizes[0] & sizes[1]", "and sizes[0] == sizes[1]", "a card of another size passes"),
        (
            "    if not others:\n        return Answer(UNKNOWN",
            "    if not others:\n        return Answer(MATCH",
            "no name",
        ),
        (
            'Answer(UNKNOWN, "whether that is the stated machine',
            'Answer(MATCH, "whether that is the stated machine',
            "any machine passes",
        ),
        ('.endswith("ACTIVE")]', '.endswith("")]', "a port that is down passes"),
        (
            "float(one.group(1)) == float(rate.group(1))",
            "float(one.group(1)) <= float(rate.group(1))",
            "a slow network",
        ),
        ('or name.endswith("/" + stated)', "or name.endswith(stated)", "an image of a longer name passes"),
        (
            "(DIFFERS, UNKNOWN, MATCH).index(one.verdict), default=Answer(UNKNOWN)",
            "(MATCH, UNKNOWN, DIFFERS).index(one.verdict), default=Answer(UNKNOWN)",
            "one right package excuses the others",
        ),
        (
            "(DIFFERS, UNKNOWN, MATCH).index(one.verdict), default=Answer(UNKNOWN)",
            "(DIFFERS, UNKNOWN, MATCH).index(one.verdict), default=Answer(MATCH)",
            "nothing passes for everything",
        ),
        ("Answer(DIFFERS) if has_local else", "Answer(MATCH) if has_local else", "another revision passes"),
    ),
    *mutants_of(
        "host_facts",
        ("tuple(kind(one) for one in value)", "tuple(value)", "numbers pass for names"),
        ('"card_count": whole,', '"card_count": text,', "the number of cards is damage"),
        ('os_of=system.get("of", "")', 'os_of="host"', "an image's system passes for its host's"),
    ),
    *mutants_of(
        "reduction",
        ("told = ~np.isnan(values)", "told = values == values.max()", "samples are lost"),
        ('kind="stable")', 'kind="stable")[::-1]', "the last is the first"),
        ("return float(numbers.max())", "return float(numbers.min())", "the hottest moment is the coldest"),
        ("(numbers[1:] + numbers[:-1]) / 2).sum() / widths.sum()", "numbers[1:]).sum()", "means are sums"),
        (
            "inside = (samples.t_ns >= begin_ns) & (samples.t_ns <= end_ns)",
            "inside = samples.t_ns <= end_ns",
            "what was before the training is part of it",
        ),
    ),
)
