"""What people call the columns of questions and answers, in the languages and conventions that data are seen in.

Words are folded: small letters, without accents, spaces and signs. Where a row has several, the earlier one is meant.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

QUESTIONS = tuple(
    "question questions q query instruction prompt problem request ask user human input utterance task title context "
    "Frage Fragen Anfrage Aufgabe Anweisung Eingabe Benutzer Nutzer Kunde demande consigne requête entrée utilisateur "
    "pregunta preguntas consulta instrucción entrada usuario domanda richiesta istruzione utente pergunta instrução "
    "vraag opdracht invoer gebruiker pytanie polecenie otázka dotaz fråga spørgsmål spørsmål kysymys soru kérdés întrebare "
    "вопрос вопросы запрос инструкция питання запитання 问题 問題 提问 问 指令 输入 用户 質問 問い 指示 入力 질문 지시 입력 "
    "سؤال السؤال שאלה प्रश्न सवाल câu_hỏi pertanyaan soal ερώτηση คำถาม".split()
)
ANSWERS = tuple(
    "answer answers a response responses reply completion output assistant gpt chosen bot solution target generation "
    "ground_truth expected ai text Antwort Antworten Ausgabe Lösung Loesung réponse réponses sortie respuesta respuestas salida solución "
    "risposta uscita resposta saída antwoord uitvoer odpowiedź odpověď svar vastaus cevap yanıt válasz răspuns "
    "ответ ответы відповідь 答案 回答 答 输出 回复 助手 答え 応答 出力 답변 대답 응답 출력 "
    "جواب الجواب إجابة الإجابة תשובה उत्तर जवाब câu_trả_lời trả_lời jawaban απάντηση คำตอบ".split()
)
CONTEXTS = tuple("context Kontext contexte contexto contesto background passage document Hintergrund".split())
SYSTEMS = tuple("system system_prompt system_message sys".split())
CHATS = tuple("messages conversations conversation dialog dialogue chat turns history Gespräch Unterhaltung dialogo".split())
ROLES = tuple("role from speaker author sender Rolle".split())
CONTENTS = tuple("content value text message says body utterance Inhalt".split())

_TOKENS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SHORTEST_TOKEN = 3  # "a" and "q" alone are names, within a name they are nothing
_SHORTEST_NEAR = 5  # "tags" is no misspelt "task"
_LONGEST = 40  # characters of a name that is looked up
_NEAR = 0.75  # of difflib: one letter wrong in four


def folded(name: str) -> str:
    """The name in small letters, without accents, and without all that is no letter or digit."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return unicodedata.normalize("NFKC", "".join(character for character in plain if character.isalnum()))


def best(names: Iterable[str], words: tuple[str, ...]) -> str | None:
    """Of several names the one that most likely means one of `words`: the word itself, the word within it, a misspelling of it."""
    ranked = [(rank, place, name) for place, name in enumerate(names) if (rank := _rank(name, _folded(words))) is not None]
    return min(ranked)[2] if ranked else None


def means(name: str, words: tuple[str, ...]) -> bool:
    """Whether the name is one of the words, however it is written."""
    return len(name) <= _LONGEST and _means(name, words)


@lru_cache(maxsize=1024)
def _means(name: str, words: tuple[str, ...]) -> bool:
    """Kept, since all rows of a file have the same columns: folding them was a third of the time of a row that has five beside its text."""
    return folded(name) in _folded(words)


@lru_cache(maxsize=16)
def _folded(words: tuple[str, ...]) -> dict[str, int]:
    """The words as they are compared, with their places."""
    return {folded(word): place for place, word in enumerate(words)}


def _rank(name: str, words: dict[str, int]) -> tuple[int, int] | None:
    """(how it is like a word, which word); None when it is like none."""
    whole = folded(name)
    if whole in words:
        return 0, words[whole]
    tokens = [folded(token) for part in _CAMEL.split(name) for token in _TOKENS.findall(part)]
    inside = [words[token] for token in tokens if len(token) >= _SHORTEST_TOKEN and token in words]
    inside += [place for word, place in words.items() if len(word) > 1 and not word[0].isascii() and word in whole]
    if inside:
        return 1, min(inside)
    near = difflib.get_close_matches(whole, words, n=1, cutoff=_NEAR) if len(whole) >= _SHORTEST_NEAR else []
    return (2, words[near[0]]) if near else None
