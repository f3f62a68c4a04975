"""What an instruction to a reading program looks like: a versioned list, applied to folded text (lower case, Latin letters).

Written in a small language: a blank stands for a gap between words, `<name>` for a list of words below. `i` and `l` match each other, because
look-alikes cannot be told apart. A list like this finds the plain and the disguised forms of known attacks and never all of them; what protects is
that nothing in the text can reach an answer (docs/adr/ADR-0009-history-in-a-text-pass.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

PATTERNS_VERSION = "injection-patterns@v1"

_WORDS = {
    "some": r"(?:[a-z0-9']+ ){0,5}",
    "few": r"(?:[a-z0-9']+ ){0,3}",
    "drop": (
        r"(?:ignore|disregard|forget|override|bypass|overrule|neglect|discard|skip|dismiss"
        r"|stop following|do not follow|don'?t follow|pay no attention to)"
    ),
    "rules": (
        r"(?:instructions?|prompts?|rules|guidelines|directions|directives?|commands?|guardrails?"
        r"|constraints|safeguards?|safety checks?|programming|training)"
    ),
    "machine": r"(?:ai|a\.i\.|llm|vlm|language model|vision model|model|assistant|chatbot|algorithm"
    r"|artificial intelligence|gpt|chatgpt|gemma|medgemma|longview|neural network"
    r"|reading software|reading system|automated reader|automated system|image reader)",
    "verdict": r"(?:normal|negative|positive|abnormal|benign|malignant|unremarkable|healthy|clear|absent|detected"
    r"|not detected|not-detected|undetected|indeterminate|definite"
    r"|probable|improbable|stat|routine|urgent|final|verified|reviewed|accepted|critical|resolved|stable)",
    "reader": r"(?:radiologist|clinician|doctor|physician|human|reviewer|anyone|anybody|staff|operator|on-call|team)",
    "say": r"(?:answer|respond|reply|output|return|print|say|emit|produce|generate)",
    "secret": (
        r"(?:prompt|system message|system prompt|instructions|api key|password|credentials|configuration"
        r"|weights|secrets?)"
    ),
}


@dataclass(frozen=True)
class Pattern:
    """`code` names the kind; `text` is written in the small language of this module."""

    code: str
    text: str


PATTERNS = (
    Pattern("ignore-instructions", r"\b<drop> <some><rules>\b"),
    Pattern(
        "ignore-instructions",
        r"\b<drop> <some>(?:above|(?:said|written|told) (?:before|above|earlier))\b",
    ),
    Pattern("ignore-instructions", r"\b<drop> (?:what you see|the (?:images?|pixels?|scans?))\b"),
    Pattern(
        "ignore-instructions",
        r"\bdo not (?:read|look at|analy[sz]e|interpret) (?:the|these|this) (?:images?|pixels?|scans?|"
        r"study)\b",
    ),
    Pattern(
        "ignore-instructions",
        r"\b(?:ignoriere|vergiss|missachte) <some>(?:anweisung|anweisungen|regeln|vorgaben)\b",
    ),
    Pattern("ignore-instructions", r"\b(?:ignorez|ignore|oubliez) <some>(?:instructions|consignes|regles)\b"),
    Pattern("ignore-instructions", r"\b(?:ignora|ignore|olvida) <some>(?:instrucciones|reglas|indicaciones)\b"),
    Pattern(
        "role",
        r"\b(?:you are|you're|act as|pretend (?:to be|you are)|behave as|play the role of|become) (?:now "
        r")?(?:an? |the |my )?<few>(?:<machine>|radiologist|admin|administrator|developer|system)\b",
    ),
    Pattern(
        "role",
        r"\byou (?:must|should|shall|will|have to|are to|need to|may only|can only) (?:now |always |"
        r"never |only |not )*(?:<say>|report|ignore|disregard|mark|label|classify|set|state|write|"
        r"conclude|find|treat|cite|call)\b",
    ),
    Pattern(
        "role",
        r"(?:^|[\n.;>\"'\])!]) *(?:system|developer|assistant|admin)(?: (?:prompt|message|note|override|"
        r"instruction))? *: *<few>(?:mark|report|set|ignore|disregard|label|you|<say>|do|never|always|"
        r"treat|override|the|this|all|new|classify|no)\b",
    ),
    Pattern(
        "role",
        r"\b(?:system|developer|hidden|secret|admin) (?:instructions?|prompt|directive|command|override|"
        r"message|mode)\b",
    ),
    Pattern("role", r"\b(?:jailbreak|prompt injection|god mode|sudo)\b"),
    Pattern(
        "role",
        r"<? ?/? ?(?:start_of_turn|end_of_turn|start_of_image|im_start|im_end|endoftext|eot_id|"
        r"start_header_id|unused9[0-9])",
    ),
    Pattern("role", r"\[/?inst\]|<</?sys>>|### ?(?:instruction|system|response)"),
    Pattern(
        "to-the-model",
        r"\b(?:notes?|message|messages|instructions?|attention|warning|memo|reminder|orders?|command|"
        r"directive|important) (?:to|for) (?:the |any |all |every |this )?<few><machine>\b",
    ),
    Pattern("to-the-model", r"\b(?:dear|attention|hello|hey|hi) <few><machine>\b"),
    Pattern(
        "to-the-model",
        r"\b<machine>s? (?:reading this|reading|must|should|shall|has to|have to|is to|are to|is instructed to|is "
        r"required to|please|needs to|will now) <few>(?:<say>|report|mark|ignore|disregard|label|"
        r"set|classify|state|not|find|treat|write|conclude|call|flag|assign|cite)\b",
    ),
    Pattern("to-the-model", r"\bif you are (?:an? |the )?<few><machine>\b"),
    Pattern(
        "report-command",
        r"\b(?:report|mark|label|classify|rate|flag|treat|read|call|declare|sign|score|grade|tag|file) "
        r"(?:this|the|every|all|each|any|that|it|these|everything|both)\b ?<some>(?:as|to be) (?:an? |"
        r"the )?<few><verdict>\b",
    ),
    Pattern(
        "report-command",
        r"\b(?:always |only |just |simply |must |please |now )(?:report|state|conclude|write|mark|label|"
        r"diagnose|declare|<say>) <few>(?:no |that |as |not |<verdict>)",
    ),
    Pattern(
        "report-command",
        r"\b<say> (?:only |always |exactly |with |that |the |this )*(?:json|word |words |following |"
        r"<verdict>|no findings?|\{)",
    ),
    Pattern(
        "report-command",
        r"\b(?:report|state|conclude|declare) (?:only |that )?(?:there (?:is|are) )?(?:no|zero) "
        r"(?:findings?|abnormalit(?:y|ies)|lesions?|nodules?|haemorrhage|hemorrhage)(?: at all| "
        r"whatsoever| in this| for this| regardless|,? (?:whatever|no matter)|!)",
    ),
    Pattern(
        "report-command",
        r"\b(?:do not|don'?t|never) (?:report|mention|describe|detect|cite|include|list|flag) (?:the |"
        r"any |a |this |these |all )?<few>(?:findings?|nodules?|lesions?|haemorrhage|hemorrhage|"
        r"effusions?|abnormalit(?:y|ies)|pneumothorax|consolidations?|mass)\b",
    ),
    Pattern(
        "report-command",
        r"\b(?:set|change|make|force) (?:the |every |all |its |their )?<few>(?:presence|likelihood|side|"
        r"laterality|label|labels|conclusion|status|findings?|answer|box|confidence)\b<few>? ?(?:to|=|"
        r"as)\b",
    ),
    Pattern(
        "report-command",
        r"\b(?:add|insert|invent|append|include) (?:a |an |the )?<few>(?:findings?|label|diagnosis) "
        r"(?:of|that|called|named|for)\b",
    ),
    Pattern("report-command", r"\bcite (?:only )?(?:this|every|all|each|entry|e[0-9]+)\b"),
    Pattern(
        "priority-command",
        r"\b(?:set|change|raise|lower|upgrade|downgrade|escalate|make|mark|assign|move|bump|give|treat|"
        r"put|reduce|increase)(?![.;]) <some>(?:priority|urgency|queue|worklist)\b",
    ),
    Pattern("priority-command", r"\bpriority <few>(?:must|should|shall|is to|has to) <few>(?:be|become)\b"),
    Pattern(
        "priority-command",
        r"\b(?:do not|don'?t|never) (?:alert|notify|escalate|page|tell|warn|inform|show|send) "
        r"<some>(?:<reader>|this (?:result|report|finding)|inbox)\b",
    ),
    Pattern(
        "priority-command",
        r"\b(?:move|send|route|forward|reroute|redirect|assign) (?:this|the) <few>(?:result|results|"
        r"report|study|task|review|finding|findings) (?:to|away)\b",
    ),
    Pattern(
        "sign-off",
        r"\b(?:accept|approve|finali[sz]e|sign|verify|auto-?accept|auto-?approve|close|complete|skip|"
        r"delete|suppress|hide) (?:this|the|all|every|it)? ?<few>(?:report|result|reading|review|task|"
        r"finding|findings)s? <few>(?:automatically|without|immediately|now|on behalf|at once)\b",
    ),
    Pattern(
        "sign-off",
        r"\b(?:mark|set|sign|post|write|file|release) (?:the |this |your )?<few>report (?:as |to |status "
        r")*(?:final|verified|signed|preliminary|amended)\b",
    ),
    Pattern(
        "sign-off",
        r"\b(?:no|without) (?:human|clinician|radiologist) (?:review|check|verification|approval) (?:is "
        r")?(?:needed|required|necessary)\b",
    ),
    Pattern(
        "disclose",
        r"\b(?:reveal|print|show|repeat|output|display|leak|dump|send|disclose) (?:me )?<few><secret>\b",
    ),
    Pattern("delimiter", r"\bchart data (?:begins|ends)\b"),
    Pattern(
        "delimiter",
        r"\b(?:end|begin|beginning|start) of (?:the )?(?:chart |user |system |patient )?(?:data|prompt|"
        r"instructions|context|history|input|record)\b",
    ),
    Pattern("delimiter", r"\bfinal answer ?:|```"),
    Pattern(
        "answer-json",
        r"[\"']?\b(?:findings|presence|likelihood|location|box_2d|long_axis_mm|cites|chart)[\"'] ?: "
        r"?[\[{\"'0-9]",
    ),
    Pattern("answer-json", r"\b(?:box_2d|long_axis_mm|not-detected|answer_schema)\b"),
)


@cache
def compiled(*, squeezed: bool) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The list, compiled once; `squeezed` for text whose gaps are lost (letters that were spaced out)."""
    return tuple((pattern.code, re.compile(_expression(pattern.text, squeezed=squeezed))) for pattern in PATTERNS)


def _expression(text: str, *, squeezed: bool) -> str:
    for _ in range(2):
        for name, words in _WORDS.items():
            text = text.replace(f"<{name}>", words)
    text = re.sub(r"(?<!\\)[il]", "[il]", text.replace("[a-z0-9']", r"[\w']"))
    gap = r"[\W_]*" if squeezed else r"[\W_]+"
    text = text.replace(" ?", r"[\W_]*").replace(" *", r"[\W_]*").replace(" ", gap)
    return text.replace(r"\b", "").replace(r"[\w']+", r"\w{1,9}?") if squeezed else text
