"""How much a suite notices: each policy made wrong in one place, in a savepoint, and the suite run against that.

original (what is installed) -> rules, recognition, objects (mutants: SQL, a sentence, a place in the policy file) ->
equivalence (those that change nothing) -> order, standing (which checks can notice, likely ones first) -> score (the
run) -> search, suggestion (for each that nobody noticed: the token, the row and the case that would).
"""
