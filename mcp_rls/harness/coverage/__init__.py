"""Coverage by evaluation: which rules and conditions of a policy file decided anything while a suite ran.

pieces, possible (a condition cut into what is counted) -> twins (policies that note the values they come to) -> record
(notes that outlive a rollback) -> gathering (one token after another) -> rules, gate (what that shows) -> result.
"""
