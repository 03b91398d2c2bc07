"""The grammar of expressions, with Spark's precedences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax
from seakernel.local.sql.cursor import Cursor
from seakernel.local.sql.errors import SqlError, unsupported
from seakernel.local.sql.syntax import Call, Expression, Literal

if TYPE_CHECKING:
    from seakernel.local.sql.syntax import Query

_COMPARISONS = {"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "<=>": "<=>"}
#: Binary operators from loose to tight, below comparison.
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("|",),
    ("^",),
    ("&",),
    ("<<", ">>", ">>>"),
    ("+", "-", "||"),
    ("*", "/", "%", "DIV"),
)
_WITHOUT_PARENTHESES = (
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "SESSION_USER",
    "USER",
    "LOCALTIMESTAMP",
    "CURDATE",
)
_INTERVAL_UNITS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND")
#: Words that cannot stand as a column, so that a missing operand is an error where it is missing.
_NEVER_NAMES = frozenset(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "JOIN",
        "ON",
        "USING",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "AS",
        "AND",
        "OR",
        "IN",
        "IS",
        "BETWEEN",
        "LIKE",
        "ILIKE",
        "RLIKE",
        "QUALIFY",
        "WITH",
    ]
)


class ExpressionParser(Cursor):
    """Parses expressions; the query parser fills in subqueries."""

    def query(self) -> Query:
        """Takes a query; the query parser defines it."""
        raise NotImplementedError

    def expression(self) -> Expression:
        """Takes any expression."""
        left = self._conjunction()
        while self.accept("OR"):
            left = syntax.Binary("OR", left, self._conjunction())
        return left

    def expressions(self) -> list[Expression]:
        """Takes one or more expressions separated by commas."""
        found = [self.expression()]
        while self.accept(","):
            found.append(self.expression())
        return found

    def _conjunction(self) -> Expression:
        left = self._negation()
        while self.accept("AND"):
            left = syntax.Binary("AND", left, self._negation())
        return left

    def _negation(self) -> Expression:
        if self.at("NOT") or (self.at("!") and self.ahead().text != "="):
            self.advance()
            return syntax.Unary("NOT", self._negation())
        if self.at("EXISTS", "(") and self._query_follows(2):
            self.advance()
            return syntax.Exists(self._wrapped_query())
        return self._predicate()

    def _predicate(self) -> Expression:
        left = self.comparison()
        while True:
            negated = self.at("NOT") and self.ahead().value in ("BETWEEN", "IN", "LIKE", "ILIKE", "RLIKE", "REGEXP")
            if negated:
                self.advance()
            if self.accept("BETWEEN"):
                low = self.comparison()
                self.expect("AND")
                left = syntax.Between(left, low, self.comparison(), negated)
            elif self.accept("IN"):
                left = self._in(left, negated=negated)
            elif self.at_any("LIKE", "ILIKE", "RLIKE", "REGEXP"):
                left = self._like(left, negated=negated)
            elif self.at("IS"):
                left = self._is(left)
            else:
                return left

    def _in(self, operand: Expression, *, negated: bool) -> Expression:
        if self.at("(") and self._query_follows(1):
            return syntax.InQuery(operand, self._wrapped_query(), negated)
        self.expect("(")
        choices = self.expressions()
        self.expect(")")
        return syntax.InList(operand, choices, negated)

    def _like(self, operand: Expression, *, negated: bool) -> Expression:
        operator = self.advance().value
        operator = "RLIKE" if operator == "REGEXP" else operator
        quantifier = self.accept_any("ANY", "SOME", "ALL") if self.ahead().text == "(" else ""
        if quantifier:
            self.expect("(")
            patterns = self.expressions()
            self.expect(")")
            return syntax.Like(operator, operand, patterns, "ALL" if quantifier == "ALL" else "ANY", None, negated)
        patterns = [self.comparison()]
        escape = self._primary() if self.accept("ESCAPE") else None
        return syntax.Like(operator, operand, patterns, "", escape, negated)

    def _is(self, operand: Expression) -> Expression:
        self.expect("IS")
        negated = self.accept("NOT")
        if self.accept("DISTINCT"):
            self.expect("FROM")
            return syntax.IsDistinct(operand, self.comparison(), negated)
        what = self.accept_any("NULL", "TRUE", "FALSE", "UNKNOWN")
        if not what:
            raise self.fail("expected NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM")
        return syntax.Is(operand, what, negated)

    def comparison(self) -> Expression:
        """Takes a value expression, with comparisons but without predicates and connectives."""
        left = self._operators(0)
        while self.token.kind == "operator" and self.token.text in _COMPARISONS:
            operator = _COMPARISONS[self.advance().text]
            left = syntax.Binary(operator, left, self._operators(0))
        return left

    def _operators(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        left = self._operators(level + 1)
        while self.at_any(*_LEVELS[level]):
            operator = self.advance().value
            left = syntax.Binary(operator, left, self._operators(level + 1))
        return left

    def _unary(self) -> Expression:
        if self.at("-") and self.ahead().kind == "number":
            return self._primary()
        if self.at_any("-", "+", "~"):
            operator = self.advance().text
            return syntax.Unary(operator, self._unary())
        return self._primary()

    # Primary expressions -----------------------------------------------------------------------------------------

    def _primary(self) -> Expression:
        return self._postfix(self._atom())

    def _postfix(self, left: Expression) -> Expression:
        while True:
            if self.accept("["):
                left = syntax.Subscript(left, self.expression())
                self.expect("]")
            elif self.at(".") and self.ahead().kind in ("word", "quoted"):
                self.advance()
                left = syntax.FieldAccess(left, self.identifier())
            elif self.at(".", "*"):
                raise unsupported("Star expansion of an expression")
            elif self.accept("::"):
                left = syntax.Cast(left, self.data_type())
            elif self.accept("?::"):
                left = syntax.Cast(left, self.data_type(), is_try=True)
            elif self.at(":") and (self.ahead().kind in ("word", "quoted") or self.ahead().text == "["):
                left = self._variant_path(left)
            elif self.at("COLLATE"):
                raise unsupported("COLLATE")
            else:
                return left

    def _variant_path(self, left: Expression) -> Expression:
        self.expect(":")
        # Names without quotes match fields in any case; the mark tells them from quoted ones.
        steps: list[str | int] = []
        if not self.at("["):
            steps.append(self._path_name())
        while True:
            if self.at(".") and self.ahead().kind in ("word", "quoted"):
                self.advance()
                steps.append(self._path_name())
            elif self.at("[") and self.ahead().kind == "string":
                self.advance()
                steps.append(self.text())
                self.expect("]")
            elif self.at("[") and self.ahead().text.isdigit():
                self.advance()
                steps.append(self.integer())
                self.expect("]")
            elif self.at("["):
                raise unsupported("A path into a VARIANT or JSON text with anything but names and whole numbers")
            else:
                return syntax.VariantPath(left, steps)

    def _path_name(self) -> str:
        return self.identifier()

    def _atom(self) -> Expression:
        token = self.token
        if token.kind == "number" or (token.text == "-" and self.ahead().kind == "number"):
            sign = "-" if self.accept("-") else ""
            return Literal("NUMBER", sign + self.advance().text)
        if token.kind == "string":
            return Literal("STRING", self.text())
        if token.kind == "hex":
            return Literal("BINARY", self.advance().value)
        if token.kind == "operator":
            return self._operator_atom()
        if token.kind == "word":
            return self._word_atom()
        if token.kind == "quoted":
            if self.ahead().text == "(" or self.ahead().text == ".":
                return self._name_or_call()
            return syntax.Name([self.identifier()])
        raise self.fail("expected an expression")

    def _operator_atom(self) -> Expression:
        if self.accept("?"):
            self.marker_count += 1
            return syntax.Parameter(self.marker_count)
        if self.at(":") and self.ahead().kind in ("word", "quoted"):
            self.advance()
            return syntax.Parameter(self.identifier())
        if self.accept("*"):
            return syntax.Star([], self._star_exceptions())
        if self.at("("):
            return self._parenthesized()
        raise self.fail("expected an expression")

    def _star_exceptions(self) -> list[list[str]]:
        if not (self.at_any("EXCEPT", "EXCLUDE") and self.ahead().text == "(" and not self._query_follows(2)):
            return []
        self.advance()
        self.expect("(")
        found = [self.dotted()]
        while self.accept(","):
            found.append(self.dotted())
        self.expect(")")
        return found

    def _parenthesized(self) -> Expression:
        if self._query_follows(1):
            start = self.index
            try:
                return syntax.Subquery(self._wrapped_query())
            except SqlError:
                # `((SELECT 1) + 1)` starts like a query; a real mistake fails again below, or at the same place.
                if self.ahead(start + 1 - self.index).text != "(":
                    raise
                self.index = start
        self.expect("(")
        items = [self._possibly_aliased()]
        while self.accept(","):
            items.append(self._possibly_aliased())
        self.expect(")")
        if len(items) == 1 and not isinstance(items[0], syntax.Alias):
            return items[0]
        return syntax.Row(items)

    def _word_atom(self) -> Expression:
        word, following = self.token.value, self.ahead()
        if following.kind == "string" and word in ("DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ"):
            self.advance()
            return Literal("TIMESTAMP" if word == "TIMESTAMP_LTZ" else word, self.text())
        if following.kind == "string" and word == "X":
            self.advance()
            return Literal("BINARY", self.text().upper())
        if following.kind == "string" and word == "TIME":
            raise unsupported("The type TIME")
        if word == "INTERVAL" and (
            following.kind in ("string", "number")
            or following.text in ("-", "+", "(", ":", "?")
            or following.kind == "word"
        ):
            interval = self._interval_literal()
            if interval:
                return interval
        if following.text not in ("(", "."):
            if word in ("NULL", "TRUE", "FALSE"):
                self.advance()
                return Literal("NULL" if word == "NULL" else "BOOLEAN", word)
            if word in _WITHOUT_PARENTHESES:
                self.advance()
                return Call([word.lower()], [], style="bare")
        if word == "CASE" and following.text not in (".", ","):
            return self._case()
        if word in _NEVER_NAMES and following.text != "(":
            raise self.fail("expected an expression")
        return self._name_or_call()

    def _name_or_call(self) -> Expression:
        parts = [self.identifier()]
        while self.at("."):
            if self.ahead().text == "*":
                self.index += 2
                return syntax.Star(parts, self._star_exceptions())
            if self.ahead().kind not in ("word", "quoted"):
                raise self.fail("expected a name")
            self.advance()
            parts.append(self.identifier())
        if self.at("("):
            return self._call(parts)
        return syntax.Name(parts)

    def _case(self) -> Expression:
        self.expect("CASE")
        operand = None if self.at("WHEN") else self.expression()
        branches = []
        while self.accept("WHEN"):
            condition = self.expression()
            self.expect("THEN")
            branches.append((condition, self.expression()))
        if not branches:
            raise self.fail("expected WHEN")
        default = self.expression() if self.accept("ELSE") else None
        self.expect("END")
        return syntax.Case(operand, branches, default)

    def _interval_literal(self) -> Expression | None:
        start = self.index
        self.expect("INTERVAL")
        pairs: list[tuple[Expression, str]] = []
        while True:
            before = self.index
            if self.token.kind == "word" and not (
                self.token.value == "CASE" or self.ahead().text in ("(", ".") or _unit(self.ahead().value)
            ):
                break
            if self.token.kind == "end" or (
                self.token.kind == "operator" and self.token.text not in ("-", "+", "(", ":", "?")
            ):
                break
            if pairs and self.token.kind == "operator":
                break
            value = self._unary()
            unit = _unit(self.token.value) if self.token.kind == "word" else ""
            if not unit:
                if not pairs and isinstance(value, Literal) and value.kind == "STRING":
                    return syntax.Interval([(value, "")])
                self.index = before
                break
            self.advance()
            pairs.append((value, unit))
            if self.at("TO") and len(pairs) == 1:
                self.advance()
                end = _unit(self.advance().value)
                return syntax.Interval(pairs, end)
        if not pairs:
            self.index = start
            return None
        return syntax.Interval(pairs)

    # Calls -------------------------------------------------------------------------------------------------------

    def _call(self, parts: list[str]) -> Expression:
        name = parts[0].upper() if len(parts) == 1 else ""
        special = {
            "CAST": self._cast,
            "TRY_CAST": self._cast,
            "EXTRACT": self._extract,
            "POSITION": self._position,
            "SUBSTRING": self._substring,
            "SUBSTR": self._substring,
            "TRIM": self._trim,
            "OVERLAY": self._overlay,
        }.get(name)
        self.expect("(")
        found = special(parts[0]) if special else None
        if isinstance(found, syntax.Cast):
            return found
        call = found if isinstance(found, Call) else self._plain_call(parts)
        return self._call_suffix(call)

    def _plain_call(self, parts: list[str]) -> Call:
        call = Call(parts, [])
        if self.accept(")"):
            return call
        call.distinct = self.accept("DISTINCT")
        if not call.distinct:
            self.accept("ALL")
        call.arguments.append(self.argument())
        while self.accept(","):
            call.arguments.append(self.argument())
        if self.at_any("IGNORE", "RESPECT") and self.ahead().value == "NULLS":
            call.nulls = self.advance().value
            self.advance()
        if self.at("ORDER"):
            raise unsupported("ORDER BY inside the parentheses of a function (use WITHIN GROUP)")
        self.expect(")")
        return call

    def argument(self) -> Expression:
        """Takes an argument: an expression, a lambda, a named argument or one with an alias."""
        if self.token.kind in ("word", "quoted"):
            if self.ahead().text == "->":
                names = [self.identifier()]
                self.advance()
                return syntax.Lambda(names, self.expression())
            if self.ahead().text == "=>":
                name = self.identifier()
                self.advance()
                return syntax.NamedArgument(name, self.expression())
        if self.at("(") and self._lambda_follows():
            names = self.names()
            self.expect("->")
            return syntax.Lambda(names, self.expression())
        if self.at_any("SELECT", "WITH") and self._query_follows(0):
            return syntax.Subquery(self.query())
        if self.at("TABLE") and self.ahead().kind in ("word", "quoted", "operator"):
            raise unsupported("A table as an argument of a function")
        return self._possibly_aliased()

    def _possibly_aliased(self) -> Expression:
        value = self.expression()
        if self.accept("AS"):
            return syntax.Alias(value, [self.identifier()])
        return value

    def _lambda_follows(self) -> bool:
        distance = 1
        while self.ahead(distance).kind in ("word", "quoted"):
            distance += 1
            if self.ahead(distance).text == ")":
                return self.ahead(distance + 1).text == "->"
            if self.ahead(distance).text != ",":
                return False
            distance += 1
        return False

    def _call_suffix(self, call: Call) -> Expression:
        if self.accept("WITHIN", "GROUP"):
            self.expect("(", "ORDER", "BY")
            call.order_by = self.order_items()
            self.expect(")")
        if self.at("FILTER", "("):
            self.advance()
            self.expect("(", "WHERE")
            call.where = self.expression()
            self.expect(")")
        if self.at_any("IGNORE", "RESPECT") and self.ahead().value == "NULLS":
            call.nulls = self.advance().value
            self.advance()
        if self.at("OVER") and (self.ahead().text == "(" or self.ahead().kind in ("word", "quoted")):
            self.advance()
            call.window = self.window() if self.at("(") else syntax.Window(base=self.identifier())
        return call

    def window(self) -> syntax.Window:
        """Takes `(PARTITION BY ... ORDER BY ... ROWS ...)`."""
        self.expect("(")
        window = syntax.Window()
        if self.token.kind in ("word", "quoted") and not self.at_any(
            "PARTITION", "DISTRIBUTE", "ORDER", "SORT", "ROWS", "RANGE"
        ):
            window.base = self.identifier()
        if self.accept("PARTITION", "BY") or self.accept("DISTRIBUTE", "BY"):
            window.partition_by = self.expressions()
        if self.accept("ORDER", "BY") or self.accept("SORT", "BY"):
            window.order_by = self.order_items()
        unit = self.accept_any("ROWS", "RANGE")
        if unit:
            window.frame = self._frame(unit)
        self.expect(")")
        return window

    def _frame(self, unit: str) -> syntax.Frame:
        if self.accept("BETWEEN"):
            start = self._bound()
            self.expect("AND")
            return syntax.Frame(unit, start, self._bound())
        return syntax.Frame(unit, self._bound(), ("CURRENT ROW", None))

    def _bound(self) -> tuple[str, Expression | None]:
        if self.accept("CURRENT", "ROW"):
            return "CURRENT ROW", None
        if self.accept("UNBOUNDED"):
            return "UNBOUNDED " + self._direction(), None
        amount = self._operators(0)
        return self._direction(), amount

    def _direction(self) -> str:
        direction = self.accept_any("PRECEDING", "FOLLOWING")
        if not direction:
            raise self.fail("expected PRECEDING or FOLLOWING")
        return direction

    def order_items(self) -> list[syntax.OrderItem]:
        """Takes the keys of an ORDER BY."""
        found = [self._order_item()]
        while self.accept(","):
            found.append(self._order_item())
        return found

    def _order_item(self) -> syntax.OrderItem:
        item = syntax.OrderItem(self.expression())
        self.order_direction(item)
        return item

    def order_direction(self, item: syntax.OrderItem) -> None:
        """Takes ASC, DESC and NULLS FIRST or LAST."""
        item.descending = self.accept_any("ASC", "DESC") == "DESC"
        if self.accept("NULLS"):
            item.nulls = self.accept_any("FIRST", "LAST")
            if not item.nulls:
                raise self.fail("expected FIRST or LAST")

    def _cast(self, name: str) -> Expression:
        operand = self.expression()
        self.expect("AS")
        to = self.data_type()
        self.expect(")")
        return syntax.Cast(operand, to, is_try=name.upper() == "TRY_CAST")

    def _extract(self, name: str) -> Expression | None:
        if self.ahead().value != "FROM":
            return None
        unit = self.text() if self.token.kind == "string" else self.identifier()
        self.expect("FROM")
        source = self.expression()
        self.expect(")")
        return Call([name], [Literal("STRING", unit), source], style="extract")

    def _position(self, name: str) -> Expression | None:
        start = self.index
        part = self._operators(0)
        if not self.accept("IN"):
            self.index = start
            return None
        whole = self._operators(0)
        self.expect(")")
        return Call([name], [part, whole])

    def _substring(self, name: str) -> Expression | None:
        start = self.index
        arguments = [self.expression()]
        if not self.accept("FROM"):
            self.index = start
            return None
        arguments.append(self.expression())
        if self.accept("FOR"):
            arguments.append(self.expression())
        self.expect(")")
        return Call([name], arguments)

    def _trim(self, name: str) -> Expression | None:
        start = self.index
        side = self.accept_any("BOTH", "LEADING", "TRAILING") if self.ahead().text not in (")", ",", ".") else ""
        characters = None if self.at("FROM") else self.expression()
        if not self.accept("FROM"):
            self.index = start
            return None
        whole = self.expression()
        self.expect(")")
        function = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(side, name)
        # The functions take the characters first, as this clause does.
        return Call([function], [characters, whole] if characters else [whole], style="trim")

    def _overlay(self, name: str) -> Expression | None:
        start = self.index
        arguments = [self.expression()]
        if not self.accept("PLACING"):
            self.index = start
            return None
        arguments.append(self.expression())
        self.expect("FROM")
        arguments.append(self.expression())
        if self.accept("FOR"):
            arguments.append(self.expression())
        self.expect(")")
        return Call([name], arguments)

    # Subqueries --------------------------------------------------------------------------------------------------

    def _query_follows(self, distance: int) -> bool:
        """Whether a query starts `distance` tokens on, behind any opening parentheses."""
        while self.ahead(distance).text == "(":
            distance += 1
        token = self.ahead(distance)
        if token.kind != "word" or token.value not in ("SELECT", "WITH", "VALUES", "TABLE", "FROM"):
            return False
        following = self.ahead(distance + 1)
        if token.value == "SELECT":
            return following.text not in (")", ",", ".")
        if token.value == "WITH":
            return following.kind in ("word", "quoted")
        if token.value == "VALUES":
            return following.text not in (")", ",", ".", "=", "[")
        return following.kind in ("word", "quoted")

    def _wrapped_query(self) -> Query:
        self.expect("(")
        query = self.query()
        self.expect(")")
        return query


def _unit(word: str) -> str:
    singular = word.removesuffix("S")
    return singular if singular in _INTERVAL_UNITS else ""
