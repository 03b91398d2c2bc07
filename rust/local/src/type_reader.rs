//! The words and symbols of SQL type texts.

/// Reads a type text from its start, blanks apart. The look-alike of Zerobus reads its own types with it.
#[derive(Debug)]
pub struct TypeReader<'text> {
    rest: &'text str,
}

impl<'text> TypeReader<'text> {
    /// Begins to read `text`.
    pub fn new(text: &'text str) -> Self {
        Self { rest: text }
    }

    /// What is left, without blanks before it.
    pub fn rest(&mut self) -> &'text str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    /// Takes so many bytes of what is left, or all of it where that is no place between characters.
    pub fn bytes(&mut self, count: usize) -> &'text str {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Takes `symbol` if it comes next.
    pub fn take(&mut self, symbol: char) -> bool {
        let rest = self.rest().strip_prefix(symbol);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes `symbol`.
    ///
    /// # Errors
    /// What comes instead.
    pub fn expect(&mut self, symbol: char) -> Result<(), String> {
        if self.take(symbol) { Ok(()) } else { Err(format!("`{symbol}` expected before `{}`", self.rest)) }
    }

    /// Takes letters, digits and underscores; none where something else comes next.
    pub fn word(&mut self) -> &'text str {
        let rest = self.rest();
        let is_of_word = |character: char| character.is_alphanumeric() || character == '_';
        self.bytes(rest.find(|character| !is_of_word(character)).unwrap_or(rest.len()))
    }

    /// Takes `word` if it comes next, in any case.
    pub fn keyword(&mut self, word: &str) -> bool {
        let before = self.rest;
        let found = self.word().eq_ignore_ascii_case(word);
        if !found {
            self.rest = before;
        }
        found
    }

    /// Takes precision and scale in parentheses; without them a `DECIMAL` is `DECIMAL(10,0)` in SQL.
    ///
    /// # Errors
    /// Something else, or numbers out of range.
    pub fn precision_and_scale(&mut self) -> Result<(u8, u8), String> {
        let (mut precision, mut scale) = (10, 0);
        if self.take('(') {
            precision = self.number()?;
            if self.take(',') {
                scale = self.number()?;
            }
            self.expect(')')?;
        }
        if precision == 0 || precision > 38 || scale > precision {
            return Err(format!("`DECIMAL({precision},{scale})` is out of range"));
        }
        Ok((precision, scale))
    }

    fn number(&mut self) -> Result<u8, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("`{word}` is not a small number"))
    }

    /// Takes the name of a struct's field, and a colon after it.
    ///
    /// # Errors
    /// No name, or a backtick that is missing.
    pub fn field_name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        if self.take('`') {
            loop {
                let (part, rest) = self.rest.split_once('`').ok_or("a backtick is missing")?;
                name.push_str(part);
                self.rest = rest;
                if !self.rest.starts_with('`') {
                    break;
                }
                name.push_str(self.bytes(1));
            }
        } else {
            name.push_str(self.word());
            if name.is_empty() {
                return Err(format!("a name is missing at `{}`", self.rest));
            }
        }
        self.take(':');
        Ok(name)
    }

    /// Takes what follows a field's type, and tells whether the field is nullable.
    ///
    /// # Errors
    /// A `NOT` without `NULL`, or a comment that does not end.
    pub fn is_nullable(&mut self) -> Result<bool, String> {
        let nullable = !self.keyword("NOT");
        if !nullable && !self.keyword("NULL") {
            return Err("`NOT` without `NULL`".to_owned());
        }
        if self.keyword("COMMENT") {
            self.comment()?;
        }
        Ok(nullable)
    }

    fn comment(&mut self) -> Result<(), String> {
        self.expect('\'')?;
        let mut escaped = false;
        for (position, character) in self.rest.char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\'' => {
                    self.bytes(position + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err("a comment does not end".to_owned())
    }
}
