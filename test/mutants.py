#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Mutation testing of custmem.c: each small change to the code that no test notices is a gap in the tests.

    make test-mutants                        all mutants
    python3 test/mutants.py --sample 200     a sample; --seed N for another one
    python3 test/mutants.py --only judge     those in one function (a regular expression)
    python3 test/mutants.py --again          those that the last run left alive, with the tests of today
    python3 test/mutants.py --list           only print them

A mutant is custmem.c with one of these changed:

    relational   < to <= and >=, <= to < and >, == to !=, and so on
    logical      && to ||, || to &&, a ! removed, a condition without an operator negated
    arithmetic   + - * / % << >> & | ^ ~ ++ -- and their assignments
    constant     a number one more and one less, a character the next one, a named constant another
    array        an array's size one less: more room changes nothing
    return       the value of a return replaced by 0
    statement    an expression statement, return, break or continue removed

custmem.c is compiled into a shared library that replaces the one the tests were linked to, so that nothing
is linked anew. The tests are run one by one, those first that killed a mutant of the same function, take a
way through it that few others take, or are fast; only those which reach the line, as a build with gcov has
shown. Behind the first of them the program of test/inside is compiled with the mutants of the functions that it looks
at. The first failure ends it. So do a crash, more CPU time than four times what the test takes, and no end at all. A mutant that
the fast tests leave alive is compiled once more, with optimisation: if it then is the same object code as
the original, it is the same program, counted as equivalent. A smaller array is compiled with AddressSanitizer, over an
SQLite that is, too: its report ends the test.

What is left alive is compared with test/mutants.txt, which has the reason of each; where that begins with "The same
program:" the mutant counts as equivalent, too. Exit status 0: at least
95 % of the mutants were killed, and every one left alive has its reason there.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REASONS = os.path.join(ROOT, 'test', 'mutants.txt')
INSIDE = os.path.join(ROOT, 'test', 'inside', 'inside.c')
TARGET_PERCENT = 95
SAME = 'The same program: '
CFLAGS = ['-std=c11', '-fPIC', '-O0', '-Wno-everything', '-fstack-protector-all', '-ftrivial-auto-var-init=pattern',
          '-fsanitize=bounds', '-fsanitize-trap=bounds']
SANITIZED = ('-O1', '-fPIC', '-w', '-fsanitize=address', '-fno-omit-frame-pointer')
REPORTED = 99
STILLBORN = ['-Werror=return-type', '-Werror=int-conversion', '-Werror=incompatible-pointer-types']
FAST_SECONDS = 1.0
ALONE = 12
BEFORE_INSIDE = 3
TOGETHER_SECONDS = 0.3
MEMORY_BYTES = 4 << 30
FILE_BYTES = 1 << 30
WAIT_SECONDS = 10
LOOK_SECONDS = 120

# ---- Tokens ------------------------------------------------------------------------------------------

TOKEN = re.compile(r'''
    (?P<space>\s+|/\*.*?\*/|\\\n)
  | (?P<string>"(?:\\.|[^"\\])*")
  | (?P<char>'(?:\\.|[^'\\])+')
  | (?P<number>(?:0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<op>->|\+\+|--|<<=|>>=|&&|\|\||[<>=!+\-*/%&|^]=|<<|>>|\.\.\.|[-+*/%&|^~!<>=?:;,.(){}\[\]\#])
''', re.X | re.S)

Token = collections.namedtuple('Token', 'kind text at end')
Mutant = collections.namedtuple('Mutant', 'kind function line at end new')


def tokens_of(source):
    found, at = [], 0
    while at < len(source):
        match = TOKEN.match(source, at)
        if not match:
            raise SystemExit(f'no token at {source[at:at + 30]!r}')
        if match.lastgroup != 'space':
            found.append(Token(match.lastgroup, match.group(), at, match.end()))
        at = match.end()
    return found


RELATIONAL = {'<': ['<=', '>='], '<=': ['<', '>'], '>': ['>=', '<='], '>=': ['>', '<'], '==': ['!='], '!=': ['==']}
LOGICAL = {'&&': ['||'], '||': ['&&']}
ARITHMETIC = {'+': ['-'], '-': ['+'], '*': ['/'], '/': ['*'], '%': ['*'], '<<': ['>>'], '>>': ['<<'], '&': ['|'],
              '|': ['&'], '^': ['|'], '+=': ['-='], '-=': ['+='], '*=': ['/='], '/=': ['*='], '|=': ['&='],
              '&=': ['|='], '^=': ['|='], '<<=': ['>>='], '>>=': ['<<=']}
STEP = {'++': '--', '--': '++'}
NAMED = re.compile(r'^(CUSTMEM|SQLITE|O|S|SQLITE_OPEN)_[A-Z0-9_]+$|^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$')
NOT_NAMED = {'NULL', 'INT64_C', 'UINT64_C', 'COUNT_OF', 'S_ISLNK', 'S_ISREG', 'NO_TEXT', 'FROM_START', 'SCHEMA',
             'STATEMENTS', 'CODES', 'REFUSALS', 'OUTCOMES', 'WHYS', 'BADGES', 'ATOMIC_FLAG_INIT',
             'PTHREAD_ONCE_INIT', 'SHA256_ROUND', 'QUERY', 'TEN_QUERIES', 'CUSTMEM_API'}
CONTROL = {'if', 'while', 'for', 'switch'}
NO_STATEMENT = {'if', 'while', 'for', 'switch', 'do', 'else', 'case', 'default', 'goto', 'static', 'const', 'struct',
                'enum', 'typedef', 'sizeof', 'int', 'char', 'unsigned', 'void', 'double', 'long', 'return', 'break',
                'continue'}


class Source:
    """custmem.c, its tokens, and what a place in it is: a function's, a declared array's size, …"""

    def __init__(self, text):
        self.text = text
        self.tokens = tokens_of(text)
        self.line_starts = [0] + [m.end() for m in re.finditer('\n', text)]
        begin = text.find('/* schema.sql begins */')
        self.schema = (begin, text.find('/* schema.sql ends */'))
        self.partner = self.find_partners()
        self.function_of = self.find_functions()

    def line(self, at):
        low, high = 0, len(self.line_starts) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.line_starts[middle] <= at else (low, middle - 1)
        return low + 1

    def line_text(self, at):
        start = self.line_starts[self.line(at) - 1]
        end = self.text.find('\n', at)
        return self.text[start:end]

    def find_partners(self):
        partner, stack = {}, []
        for i, token in enumerate(self.tokens):
            if token.text in '([{' and token.kind == 'op':
                stack.append(i)
            elif token.text in ')]}' and token.kind == 'op':
                opened = stack.pop()
                partner[opened], partner[i] = i, opened
        return partner

    def find_functions(self):
        """Each token's function, or what it stands in at file level: a table's or a macro's name."""
        where, i, count = [''] * len(self.tokens), 0, len(self.tokens)
        while i < count:
            token = self.tokens[i]
            end, name = i, token.text
            if token.text == '#':
                name = self.tokens[i + 2].text if self.tokens[i + 1].text == 'define' else ''
                stop = self.end_of_directive(token.at)
                while end + 1 < count and self.tokens[end + 1].at < stop:
                    end += 1
            else:
                while end < count and self.tokens[end].text not in (';', '{'):
                    if self.tokens[end].text == '(':
                        end = self.partner[end]
                    elif self.tokens[end].text == '[':
                        end = self.partner[end]
                    else:
                        end += 1
                        continue
                    end += 1
                if end < count and self.tokens[end].text == '{':
                    end = self.partner[end]
                    is_body = self.tokens[self.partner[end] - 1].text == ')'
                    while not is_body and self.tokens[end].text != ';':
                        end = self.partner[end] if self.tokens[end].text in '([{' else end
                        end += 1
                name = self.name_of(i, end)
            for k in range(i, min(end + 1, count)):
                where[k] = name
            i = end + 1
        return where

    def end_of_directive(self, at):
        end = self.text.index('\n', at)
        while self.text[end - 1] == '\\':
            end = self.text.index('\n', end + 1)
        return end

    def name_of(self, first, last):
        """A function's or a table's; of a struct with a table behind it the table's."""
        for k in range(first, last):
            if self.tokens[k].text == '{' and self.tokens[self.partner[k] + 1].kind == 'name':
                return self.tokens[self.partner[k] + 1].text
            if self.tokens[k].kind == 'name' and self.tokens[k + 1].text in ('(', '[', '='):
                return self.tokens[k].text
        return self.tokens[first].text

    def is_spaced(self, token):
        return self.text[token.at - 1].isspace() and self.text[token.end].isspace()

    def in_schema(self, token):
        return self.schema[0] <= token.at < self.schema[1]


def number_value(text):
    digits = text.rstrip('uUlL')
    return int(digits, 16 if digits[:2].lower() == '0x' else 10)


class Mutator:
    def __init__(self, source):
        self.source = source
        self.mutants = []

    def add(self, kind, index, new, last=None):
        tokens, source = self.source.tokens, self.source
        at, end = tokens[index].at, tokens[last if last is not None else index].end
        if source.text[at:end] != new:
            self.mutants.append(Mutant(kind, source.function_of[index], source.line(at), at, end, new))

    def is_array_size(self, index):
        """Inside the brackets of a declaration: after a type and a name, with no assignment before it."""
        tokens, k = self.source.tokens, index
        while k > 0 and tokens[k].text != '[':
            k = self.source.partner[k] - 1 if tokens[k].text in (')', ']') else k - 1
            if tokens[k].text in (';', '{', '}', '='):
                return False
        while k > 2 and tokens[k].text == '[':
            k -= 1
            if tokens[k].text == ']':
                k = self.source.partner[k]
        before = tokens[k - 1]
        return tokens[k].kind == 'name' and (
            (before.kind == 'name' and before.text not in ('return', 'case', 'else')) or
            (before.text in ('*', ',') and not self.source.is_spaced(before) and self.in_declaration(k)))

    def is_in_enum(self, index):
        tokens, k = self.source.tokens, index
        while k > 0 and tokens[k].text not in (';', '{', '}'):
            k -= 1
        return 'enum' in (tokens[k - 1].text, tokens[k - 2].text)

    def in_declaration(self, index):
        tokens, k = self.source.tokens, index
        while k > 0 and tokens[k].text not in (';', '{', '}'):
            k -= 1
        return tokens[k + 1].kind == 'name' and tokens[k + 2].kind == 'name'

    def operators(self, i):
        token = self.source.tokens[i]
        spaced = self.source.is_spaced(token)
        before = self.source.tokens[i - 1]
        for kind, table in (('relational', RELATIONAL), ('logical', LOGICAL), ('arithmetic', ARITHMETIC)):
            if spaced and token.text in table:
                for new in table[token.text]:
                    self.add('array' if self.is_array_size(i) else kind, i, new)
        if token.text in STEP:
            self.add('arithmetic', i, STEP[token.text])
        if token.text == '!':
            self.add('logical', i, ' ')
        if token.text in ('-', '~') and not spaced and before.kind == 'op' and before.text not in (')', ']'):
            self.add('arithmetic', i, ' ')

    def constants(self, i):
        tokens, token = self.source.tokens, self.source.tokens[i]
        before = tokens[i - 1].text
        if token.kind == 'number':
            value = number_value(token.text)
            suffix = token.text[len(token.text.rstrip('uUlL')):]
            more, less = f'{value + 1}{suffix}', f'{value - 1}{suffix}'
            if self.is_array_size(i):
                self.add('array', i, less)
            elif value == 0:
                self.add('constant', i, more)
            elif value == 1 and before in ('return', '='):
                self.add('constant', i, less)
            else:
                self.add('constant', i, more)
                self.add('constant', i, less)
        elif token.kind == 'char':
            self.add('constant', i, f'({token.text} + 1)')
        elif NAMED.match(token.text) and token.text not in NOT_NAMED and tokens[i + 1].text != '(':
            neighbours = (before, tokens[i + 1].text)
            if before in ('case', '.', 'define') or self.is_in_enum(i):
                return
            if token.text in ('CUSTMEM_OK', 'SQLITE_OK') and ('==' in neighbours or '!=' in neighbours):
                return
            if before == '[' and tokens[i + 1].text == ']':
                return
            if self.is_array_size(i):
                self.add('array', i, f'({token.text} - 1)')
            else:
                self.add('constant', i, f'({token.text} + 1)')

    def end_of_statement(self, i):
        tokens, k = self.source.tokens, i
        while tokens[k].text != ';':
            if tokens[k].text in ('(', '[', '{'):
                k = self.source.partner[k]
            if tokens[k].text == '}':
                return None
            k += 1
        return k

    def is_statement_start(self, i):
        tokens = self.source.tokens
        before = tokens[i - 1]
        if before.text in (';', '{', '}', 'else', 'do'):
            return before.text != '{' or self.source.text[before.end] == '\n'
        if before.text == ':':
            return tokens[i - 2].text == 'default' or tokens[i - 3].text == 'case'
        if before.text == ')':
            opened = self.source.partner[i - 1]
            return tokens[opened - 1].text in CONTROL
        return False

    def in_control_head(self, i):
        """Between the parentheses of a for: its semicolons end no statement."""
        tokens, k = self.source.tokens, i - 1
        while k > 0:
            if tokens[k].text in (')', ']', '}'):
                k = self.source.partner[k]
            elif tokens[k].text in ('(', '{'):
                return tokens[k].text == '('
            k -= 1
        return False

    def statements(self, i):
        tokens, token = self.source.tokens, self.source.tokens[i]
        if not self.is_statement_start(i) or self.in_control_head(i):
            return
        end = self.end_of_statement(i)
        if end is None:
            return
        follows = tokens[i + 1]
        if token.text in ('return', 'break', 'continue'):
            self.add('statement', i, ';', end)
            if token.text == 'return' and end > i + 2 and tokens[i + 1].kind != 'string':
                self.add('return', i, 'return 0;', end)
            return
        if token.kind == 'name' and (token.text in NO_STATEMENT or follows.kind == 'name'):
            return
        if follows.text == '*' and not self.source.is_spaced(follows):
            return
        if (token.text == '(' and tokens[i + 1].text == 'void') or tokens[i - 1].text == '}' and i + 1 == end:
            return
        if token.kind == 'name' or token.text in ('*', '++', '--', '('):
            self.add('statement', i, ';', end)

    def conditions(self, i):
        """if (x) and while (x) without an operator of their own."""
        tokens = self.source.tokens
        if tokens[i].text not in ('if', 'while') or tokens[i + 1].text != '(':
            return
        last = self.source.partner[i + 1]
        own, k = [], i + 2
        while k < last:
            if tokens[k].text == '(':
                k = self.source.partner[k]
            elif tokens[k].kind == 'op':
                own.append(tokens[k].text)
            k += 1
        if not any(op in RELATIONAL or op in LOGICAL or op == '!' for op in own):
            inner = self.source.text[tokens[i + 2].at:tokens[last - 1].end]
            self.add('logical', i + 2, f'!({inner})', last - 1)

    def run(self):
        tokens = self.source.tokens
        for i, token in enumerate(tokens):
            if self.source.in_schema(token) or self.source.function_of[i] in ('', 'OLDEST_SQLITE'):
                continue
            if token.kind == 'op':
                self.operators(i)
            self.constants(i)
            if i > 2:
                self.statements(i)
            self.conditions(i)
        return self.mutants


# ---- Building ----------------------------------------------------------------------------------------

# What every test program gets besides: its scratch directory is where the harness wants it, and a child that
# ends by _exit still says which lines it ran.
SANDBOX = r'''
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
void coverage_dump(void) __attribute__((weak));
void _exit(int status) {
  if (coverage_dump) coverage_dump();
  for (;;) syscall(SYS_exit_group, status);
}
char *mkdtemp(char *template) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
  static unsigned count;
  const char *directory = getenv("MUTANT_DIRECTORY");
  size_t size = strlen(template);
  char *x = template + size - 6;
  int i;
  if (directory && strncmp(template, "/tmp/custmem", 12) == 0)
    sprintf(template, "%s/XXXXXX", directory), x = template + strlen(template) - 6;
  for (;; count++) {
    unsigned long n = (unsigned long)getpid() * 1000 + count;
    for (i = 0; i < 6; i++, n /= 26) x[i] = letters[n % 26];
    if (mkdir(template, 0700) == 0) return template;
    if (count > 100000) return NULL;
  }
}
'''
COVERAGE = 'void __gcov_dump(void); void coverage_dump(void); void coverage_dump(void) { __gcov_dump(); }\n'


def call(command, **options):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f'{" ".join(command)}\n{done.stdout}')
    return done.stdout


def make_value(name):
    return call(['make', '-s', '--no-print-directory', '--eval', f'say: ; @echo $({name})', 'say']).split()


class Build:
    """The test programs, linked to shared libraries of SQLite and of custmem."""

    def __init__(self, directory):
        self.directory = directory
        self.library = os.path.join(directory, 'original')
        os.makedirs(self.library, exist_ok=True)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def is_old(self, target, *sources):
        made = os.path.getmtime(target) if os.path.exists(target) else 0
        return any(os.path.getmtime(os.path.join(ROOT, s)) > made for s in sources)

    def object(self, source, *flags, name=None, cflags=('-std=c11', '-O1', '-w', '-fPIC')):
        target = self.path((name or os.path.basename(source)[:-2]) + '.o')
        headers = [f'test/{h}' for h in os.listdir(os.path.join(ROOT, 'test')) if h.endswith('.h')]
        needs = ['sqlite3.h'] if source == 'sqlite3.c' else ['custmem.h', 'sqlite3.h', *headers]
        if self.is_old(target, source, *needs):
            call(['gcc', *cflags, '-I.', *flags, '-c', source, '-o', target])
        return target

    def make(self):
        flags = make_value('SQLITE_FLAGS')
        sqlite = self.path('libsqlite.so')
        if self.is_old(sqlite, 'sqlite3.c'):
            made = self.object('sqlite3.c', *flags, cflags=('-O2', '-fPIC', '-w'))
            call(['gcc', '-shared', '-Wl,-soname,libsqlite.so', made, '-lpthread', '-lm', '-o', sqlite])
        custmem = os.path.join(self.library, 'libcustmem.so')
        self.compile_library('custmem.c', custmem)
        with open(self.path('sandbox.c'), 'w', encoding='utf-8') as file:
            file.write(SANDBOX)
        sandbox = self.object(self.path('sandbox.c'), name='sandbox')
        all_c = sorted(f for f in os.listdir(os.path.join(ROOT, 'test')) if f.endswith('.c'))
        common = [self.object(f'test/{f}') for f in all_c if not f.startswith('test_')]
        self.make_sanitized(flags)
        libraries = [f'-L{self.library}', '-lcustmem', sqlite, '-lpthread', '-lm', f'-Wl,-rpath-link,{self.library}',
                     f'-Wl,-rpath,{self.directory}']
        programs = []
        for f in all_c:
            if f.startswith('test_'):
                extra = self.fuzz_objects() if f == 'test_corpus.c' else []
                program = self.path(f[:-2])
                call(['gcc', self.object(f'test/{f}'), sandbox, *common, *extra, *libraries, '-o', program])
                programs.append(program)
        call(['gcc', self.object('shell.c'), sandbox, *libraries, '-o', self.path('custmem')])
        return programs

    def make_sanitized(self, flags):
        """SQLite with AddressSanitizer, which is loaded into programs that do not have it."""
        self.sanitized = self.path('sanitized')
        os.makedirs(self.sanitized, exist_ok=True)
        sqlite = os.path.join(self.sanitized, 'libsqlite.so')
        if self.is_old(sqlite, 'sqlite3.c'):
            made = self.object('sqlite3.c', *flags, name='sqlite3_sanitized', cflags=SANITIZED)
            call(['ld', '-shared', '-soname', 'libsqlite.so', made, '-o', sqlite])
        self.compile_sanitized('custmem.c', os.path.join(self.sanitized, 'libcustmem.so'))
        self.sanitizer = {'LD_PRELOAD': call(['gcc', '-print-file-name=libasan.so']).strip(),
                          'ASAN_OPTIONS': f'detect_leaks=0:exitcode={REPORTED}'}

    def fuzz_objects(self):
        folder = os.path.join(ROOT, 'test', 'fuzz')
        made = [self.object('shell.c', '-Dmain=shell_main', name='fuzz_shell')]
        for f in sorted(os.listdir(folder)):
            if f.endswith('.c'):
                made.append(self.object(f'test/fuzz/{f}', f'-DLLVMFuzzerTestOneInput={f[:-2]}'))
        return made

    def compile_library(self, source, target):
        """Gives what the compiler says, '' when it is content; the object stays beside the library."""
        done = subprocess.run(
            ['clang', *CFLAGS, *STILLBORN, '-I.', '-c', source, '-o', target[:-3] + '.o'], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            return done.stdout or 'error'
        call(['ld', '-shared', target[:-3] + '.o', '-o', target])
        return ''

    def compile_sanitized(self, source, target):
        call(['gcc', '-std=c11', *SANITIZED, '-I.', '-c', source, '-o', target[:-3] + '.o'])
        call(['ld', '-shared', target[:-3] + '.o', '-o', target])

    def compile_inside(self, folder):
        """The program that includes custmem.c, here the one in the folder, to look at its own functions."""
        program = os.path.join(folder, 'inside')
        mutant = os.path.join(folder, 'custmem.c')
        call(['clang', *CFLAGS, f'-DCUSTMEM_C="{mutant}"', '-I.', INSIDE, self.path('sandbox.o'), self.path('libsqlite.so'), '-lpthread', '-lm',
              f'-Wl,-rpath,{self.directory}', '-o', program])
        return program

    def optimised(self, source, folder):
        """A hash of the object code that an optimising compiler makes of a source."""
        made = os.path.join(folder, 'optimised.o')
        call(['gcc', '-std=c11', '-O2', '-w', '-I.', '-c', source, '-o', made])
        call(['objcopy', '--strip-debug', '-R', '.comment', made])
        with open(made, 'rb') as file:
            found = hashlib.sha256(file.read()).hexdigest()
        os.remove(made)
        return found

    def covered(self):
        """The library that counts lines, in a directory of its own."""
        folder = self.path('covered')
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, 'dump.c'), 'w', encoding='utf-8') as file:
            file.write(COVERAGE)
        call(['gcc', '-std=c11', '-fPIC', '-O0', '-w', '-I.', '--coverage', '-fprofile-update=atomic', '-c',
              'custmem.c', '-o', os.path.join(folder, 'custmem.o')])
        call(['gcc', '-fPIC', '-shared', '--coverage', os.path.join(folder, 'custmem.o'),
              os.path.join(folder, 'dump.c'), '-o', os.path.join(folder, 'libcustmem.so')])
        return folder


# ---- Running -----------------------------------------------------------------------------------------

FAILURE = re.compile(rb'^test/\S+\.[ch]:\d+: (\w*)', re.M)
Outcome = collections.namedtuple('Outcome', 'passed why seconds')


class Runner:
    def __init__(self, build):
        self.build = build
        self.base = '/dev/shm' if os.path.isdir('/dev/shm') else self.build.directory
        self.number = 0
        self.lock = threading.Lock()
        self.groups = set()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)

    def stop(self, *_):
        for group in list(self.groups):
            os.killpg(group, signal.SIGKILL)
        os._exit(1)

    def run(self, program, names, library, cpu_seconds, extra=None):
        """Tests of one program, in a scratch directory of their own, until they end or a check fails."""
        with self.lock:
            self.number += 1
            scratch = os.path.join(self.base, f'mutant-{os.getpid()}-{self.number}')
        os.mkdir(scratch)
        environment = dict(os.environ, LD_LIBRARY_PATH=library, MUTANT_DIRECTORY=scratch, TMPDIR=scratch,
                           CUSTMEM_SHELL=self.build.path('custmem'), **(extra or {}))

        memory = '' if 'LD_PRELOAD' in environment else f'ulimit -v {MEMORY_BYTES >> 10}; '
        limits = (f'ulimit -c 0; ulimit -t {int(cpu_seconds) + 1}; {memory}'
                  f'ulimit -f {FILE_BYTES >> 9}; exec "$@"')
        begun = time.monotonic()
        child = subprocess.Popen(['sh', '-c', limits, 'sh', self.build.path(program), *names], cwd=ROOT,
                                 env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        self.groups.add(child.pid)
        try:
            why = self.watch(child, begun + 3 * cpu_seconds + WAIT_SECONDS)
        finally:
            self.groups.discard(child.pid)
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.stdout.close()
            child.wait()
            for folder, _, _ in os.walk(scratch):
                os.chmod(folder, 0o700)
            shutil.rmtree(scratch, ignore_errors=True)
        return Outcome(why == '', why, time.monotonic() - begun)

    @staticmethod
    def watch(child, deadline):
        said, pipe = b'', child.stdout.fileno()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return 'no end'
            if not select.select([pipe], [], [], left)[0]:
                return 'no end'
            chunk = os.read(pipe, 65536)
            if not chunk:
                break
            said = said[-200:] + chunk
            failure = FAILURE.search(said)
            if failure:
                return f'failed: {failure.group(1).decode()}'
        try:
            status = child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return 'no end'
        return '' if status == 0 else 'no end' if status == -signal.SIGXCPU else f'ended with {status}'


class Suite:
    """The tests: how long each takes, and the lines of custmem.c that each reaches."""

    def __init__(self, build, runner, jobs):
        self.build, self.runner, self.jobs = build, runner, jobs
        self.seconds, self.reaches = {}, {}

    def load(self, programs):
        """What was measured before still holds for a program whose source is as it was."""
        cache = self.build.path('suite.json')
        kept = {}
        if os.path.exists(cache):
            with open(cache, encoding='utf-8') as file:
                kept = json.load(file)
        keys = {program: key_of_inputs(os.path.basename(program)) for program in programs}
        old = {program: kept[key]['tests'] for program, key in keys.items() if key in kept}
        self.measure([program for program in programs if program not in old])
        for program, tests in old.items():
            for name, seconds, lines in tests:
                self.seconds[(os.path.basename(program), name)] = seconds
                self.reaches[(os.path.basename(program), name)] = set(lines)
        with open(cache, 'w', encoding='utf-8') as file:
            json.dump({keys[p]: {'tests': [(t[1], s, sorted(self.reaches[t])) for t, s in self.seconds.items()
                                           if t[0] == os.path.basename(p)]} for p in programs}, file)

    def measure(self, programs):
        tests = []
        for program in programs:
            environment = dict(os.environ, LD_LIBRARY_PATH=self.build.library, CUSTMEM_SHELL=self.build.path('custmem'))
            listed = subprocess.run([program, '--list'], env=environment, stdout=subprocess.PIPE, text=True,
                                    check=True).stdout
            tests += [(os.path.basename(program), line.split('\t')[1]) for line in listed.splitlines()]
        covered = self.build.covered()
        self.counts = self.build.path('counts', 'custmem.gcda')
        self.runner.run('test_audit', ['--list'], covered, 60,
                        {'GCOV_PREFIX': os.path.dirname(self.counts), 'GCOV_PREFIX_STRIP': '99'})
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for test, lines, outcome in pool.map(lambda t: self.look_at(t, covered), tests):
                if outcome.passed:
                    self.seconds[test] = outcome.seconds
                    self.reaches[test] = lines
                else:
                    print(f'not used, since it fails without a mutant: {test[0]} {test[1]} ({outcome.why})')

    def passes(self, test):
        """Whether a test passes without a mutant."""
        return self.runner.run(test[0], [test[1]], self.build.library, 1 + 4 * self.seconds[test]).passed

    def passes_sanitized(self, test):
        return self.runner.run(test[0], [test[1]], self.build.sanitized, 10 + 10 * self.seconds[test],
                               self.build.sanitizer).passed

    def look_at(self, test, covered):
        """The time from a run of the original, and the lines from a run of the library that counts."""
        outcome = self.runner.run(test[0], [test[1]], self.build.library, 300)
        folder = self.build.path('lines', f'{test[0]}.{test[1]}')
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        os.chmod(shutil.copy(self.counts, folder), 0o666)  # children that gave up their privileges count, too
        os.chmod(folder, 0o777)
        self.runner.run(test[0], [test[1]], covered, 600, {'GCOV_PREFIX': folder, 'GCOV_PREFIX_STRIP': '99'})
        lines = set()
        if os.path.exists(os.path.join(folder, 'custmem.gcda')):
            shutil.copy(os.path.join(covered, 'custmem.gcno'), folder)
            said = subprocess.run(['gcov', '-t', os.path.join(folder, 'custmem.gcda')], cwd=ROOT,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
            for line in said.splitlines():
                count, number, _ = line.split(':', 2)
                if count.strip().rstrip('*').isdigit():
                    lines.add(int(number))
        shutil.rmtree(folder)
        return test, lines, outcome


class Campaign:
    def __init__(self, source, build, runner, suite, spend):
        self.spend, self.first, self.reasons = spend, read_first(), read_reasons()
        self.source, self.build, self.runner, self.suite = source, build, runner, suite
        self.kills = collections.defaultdict(collections.Counter)
        self.all_kills = collections.Counter()
        self.original = build.optimised('custmem.c', build.library)
        self.counted = set().union(*suite.reaches.values())
        self.code_lines = self.counted | self.unreached()
        self.lock = threading.Lock()
        self.mentions = self.find_mentions()
        self.rarity = self.find_rarity()
        self.last_look, self.unsound = {}, set()
        self.seen_inside = self.find_seen_inside()

    def find_seen_inside(self):
        """The functions that the program which includes custmem.c calls, and all that those call; of a public
        function only what it calls itself, which else would be nearly everything."""
        calls = collections.defaultdict(set)
        for token, function in zip(self.source.tokens, self.source.function_of):
            calls[function].add(token.text)
        with open(INSIDE, encoding='utf-8') as file:
            waiting = {token.text for token in tokens_of(file.read())} & set(calls)
        seen = set(waiting)
        while waiting:
            function = waiting.pop()
            found = calls[function] & set(calls) - seen
            seen |= found
            if not function.startswith('custmem_'):
                waiting |= found
        return seen

    def find_mentions(self):
        """The lines that use a macro or a table, for those that stand at file level."""
        mentions = collections.defaultdict(set)
        tables = {f for f in self.source.function_of if not re.match('custmem_|[a-z_]+$', f)}
        for token in self.source.tokens:
            line = self.source.line(token.at)
            if token.text in tables and line in self.code_lines:
                mentions[token.text].add(line)
        return mentions

    def find_rarity(self):
        """Of each function how rare the lines are that a test reaches in it: whoever takes a way through it that
        few others take looks at what it does."""
        reached = collections.Counter(line for lines in self.suite.reaches.values() for line in lines)
        function_of = {}
        for token, function in zip(self.source.tokens, self.source.function_of):
            function_of.setdefault(self.source.line(token.at), function)
        rarity = collections.defaultdict(collections.Counter)
        for test, lines in self.suite.reaches.items():
            for line in lines:
                rarity[function_of.get(line, '')][test] += 1 / reached[line]
        return rarity

    def unreached(self):
        covered = self.build.path('covered')
        said = subprocess.run(['gcov', '-t', os.path.join(covered, 'custmem.gcno')], cwd=ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
        return {int(line.split(':', 2)[1]) for line in said.splitlines() if line.split(':', 1)[0].strip() == '#####'}

    def order(self, mutant):
        lines = self.lines_of(mutant)
        tests = [t for t in self.suite.seconds
                 if t not in self.unsound and (not lines or self.suite.reaches[t] & lines)]
        with self.lock:
            kills = dict(self.kills[mutant.function])
        rarity, first = self.rarity[mutant.function], self.first['']
        before = self.first[mutant.function]
        score = {t: (self.suite.seconds[t] + 0.01) /
                 (1 + 5 * kills.get(t, 0) + self.all_kills[t] / 20 + 20 * (t in first) + 100 * rarity[t])
                 for t in tests}
        return sorted(tests, key=lambda t: (t not in before, score[t]))

    def lines_of(self, mutant):
        """The counted lines that the mutant changes, or the nearest one of its statement; none for a table."""
        first, last = mutant.line, self.source.line(mutant.end)
        lines = set(range(first, last + 1)) & self.code_lines
        k = first
        if mutant.function in self.mentions:
            return self.mentions[mutant.function]
        while not lines and k > 1 and first - k < 12:
            k -= 1
            text = self.source.text[self.source.line_starts[k - 1]:self.source.line_starts[k] - 1].strip()
            if k in self.code_lines:
                lines = {k}
            elif text.endswith((';', '{', '}')) or not text:
                break
        return lines

    def run(self, number_and_mutant):
        number, mutant = number_and_mutant
        begun = time.monotonic()
        folder = self.build.path('mutant', str(number))
        os.makedirs(folder, exist_ok=True)
        try:
            verdict, by = self.judge(mutant, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return mutant, verdict, by, time.monotonic() - begun

    def judge(self, mutant, folder):
        text = self.source.text
        changed, library = os.path.join(folder, 'custmem.c'), os.path.join(folder, 'libcustmem.so')
        with open(changed, 'w', encoding='utf-8') as file:
            file.write(text[:mutant.at] + mutant.new + text[mutant.end:])
        if self.build.compile_library(changed, library):
            return 'stillborn', ''
        if mutant.kind == 'array':
            return self.judge_array(mutant, changed, library, folder)
        spent, is_new = 0.0, False
        for program, names in self.tries(mutant):
            if spent > (FAST_SECONDS if self.has_reason(mutant) else self.spend):
                return 'listed' if self.has_reason(mutant) else 'undecided', ''
            if spent > FAST_SECONDS and not is_new:
                is_new = self.build.optimised(changed, folder) != self.original
                if not is_new:
                    return 'equivalent', ''
            outcome = self.run_tests(program, names, folder)
            spent += outcome.seconds
            if not outcome.passed and not names:
                return 'killed', program
            if not outcome.passed:
                killer = self.note(program, names, outcome.why)
                if self.is_sound(killer):
                    self.credit(mutant.function, killer)
                    return 'killed', ' '.join(killer)
        if not is_new and self.build.optimised(changed, folder) == self.original:
            return 'equivalent', ''
        return 'listed' if self.has_reason(mutant) else 'alive', ''

    def run_tests(self, program, names, folder):
        if not names:
            return self.runner.run(self.build.compile_inside(folder), [], folder, 2)
        seconds = sum(self.suite.seconds[(program, name)] for name in names)
        return self.runner.run(program, names, folder, 1 + 4 * seconds)

    def tries(self, mutant):
        """The tests in their order; the program of test/inside, which must be compiled anew, behind the first."""
        groups = list(self.groups(self.order(mutant)))
        if mutant.function in self.seen_inside:
            groups.insert(BEFORE_INSIDE, ('inside', []))
        return groups

    def judge_array(self, mutant, changed, library, folder):
        """AddressSanitizer reports an array that is too small. A test that only fails must pass without the mutant:
        not every one does under the sanitizer."""
        if self.build.optimised(changed, folder) == self.original:
            return 'equivalent', ''
        if mutant.function in self.seen_inside and not self.run_tests('inside', [], folder).passed:
            return 'killed', 'inside'
        self.build.compile_sanitized(changed, library)
        spent = 0.0
        for program, names in self.groups(self.order(mutant)):
            if spent > self.spend:
                return 'undecided', ''
            seconds = sum(self.suite.seconds[(program, name)] for name in names)
            outcome = self.runner.run(program, names, f'{folder}:{self.build.sanitized}', 10 + 10 * seconds,
                                      self.build.sanitizer)
            spent += outcome.seconds
            if outcome.passed:
                continue
            killer = self.note(program, names, outcome.why)
            if outcome.why == f'ended with {REPORTED}' or self.suite.passes_sanitized(killer):
                self.credit(mutant.function, killer)
                return 'killed', ' '.join(killer)
        return 'alive', ''

    def has_reason(self, mutant):
        """Whether the list has a reason for every mutant of the function: then only the fast tests are tried."""
        return (mutant.function, '*', '*') in self.reasons

    def groups(self, tests):
        """The first ones alone; then the fast ones of each program together, for few processes; then the slow
        ones, each alone."""
        seconds = self.suite.seconds
        for program, name in tests[:ALONE]:
            yield program, [name]
        together, slow = collections.defaultdict(list), []
        for program, name in tests[ALONE:]:
            if seconds[(program, name)] < TOGETHER_SECONDS:
                together[program].append(name)
            else:
                slow.append((program, name))
        yield from sorted(together.items(), key=lambda group: sum(seconds[(group[0], name)] for name in group[1]))
        for program, name in slow:
            yield program, [name]

    @staticmethod
    def note(program, names, why):
        """The test that killed: in a group it is the one that the failure names, if it does."""
        said = re.search(r': (\w+)$', why)
        return program, said.group(1) if said and said.group(1) in names else names[0]

    def is_sound(self, test):
        """Whether a test still passes without a mutant: one may have left a file behind over which it stumbles."""
        with self.lock:
            is_due = time.monotonic() - self.last_look.get(test, -LOOK_SECONDS) >= LOOK_SECONDS
            self.last_look[test] = time.monotonic()
        if test in self.unsound or not is_due:
            return test not in self.unsound
        if not self.suite.passes(test):
            self.unsound.add(test)
            print('not used any more, since it fails without a mutant, too:', *test, flush=True)
        return test not in self.unsound

    def credit(self, function, test):
        with self.lock:
            self.kills[function][test] += 1
            self.all_kills[test] += 1


class History:
    """The verdicts of runs before, also of one that was stopped, by what the mutant changes in its function."""

    def __init__(self, path, source):
        self.path, self.source, self.verdicts, self.by = path, source, {}, {}
        self.bounds, self.killers = {}, []
        for token, function in zip(source.tokens, source.function_of):
            first, _ = self.bounds.get(function, (token.at, token.end))
            self.bounds[function] = (first, token.end)
        if os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                for key, verdict, function, by in (json.loads(line) for line in file):
                    self.verdicts[key], self.by[key] = verdict, by
                    if verdict == 'killed':
                        self.killers.append((function, tuple(by.split())))

    def key(self, mutant):
        first, last = self.bounds[mutant.function]
        if last - first > 20000:
            first, last = mutant.at - 200, mutant.end + 200
        text = self.source.text
        whole = text[first:mutant.at] + '\0' + mutant.new + '\0' + text[mutant.end:last]
        return hashlib.sha256(whole.encode()).hexdigest()

    def verdict(self, mutant):
        return self.verdicts.get(self.key(mutant))

    def killer(self, mutant):
        return self.by.get(self.key(mutant), '')

    def add(self, mutant, verdict, by):
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(json.dumps([self.key(mutant), verdict, mutant.function, by]) + '\n')


# ---- Reasons and report ------------------------------------------------------------------------------

def key_of(source, mutant):
    """How the list names a mutant, whatever its line number: its function, its lines before and after."""
    start = source.line_starts[source.line(mutant.at) - 1]
    end = source.text.find('\n', mutant.end)
    before = source.text[start:end]
    after = source.text[start:mutant.at] + mutant.new + source.text[mutant.end:end]
    return mutant.function, ' '.join(before.split()), ' '.join(after.split())


def read_reasons():
    """The list: '= reason' stands over the mutants it is of, each '@ function', '- before', '+ after'; '- *' and
    '+ *' are all of a function's."""
    reasons, reason, function, before = {}, '', '', ''
    if not os.path.exists(REASONS):
        return reasons
    with open(REASONS, encoding='utf-8') as file:
        for line in file:
            mark, rest = line[:1], ' '.join(line[1:].split())
            if mark == '=':
                reason = rest
            elif mark == '@':
                function = rest
            elif mark == '-':
                before = rest
            elif mark == '+':
                reasons[(function, before, rest)] = reason
    return reasons


def read_first():
    """The tests that the list has on lines of '!', tried before the others: for each mutant, and, on a line with a
    function before them, for that function's."""
    first = collections.defaultdict(set)
    if os.path.exists(REASONS):
        with open(REASONS, encoding='utf-8') as file:
            for line in file:
                if line.startswith('!'):
                    *function, program, name = line[1:].split()
                    first[function[0] if function else ''].add((program, name))
    return first


def print_killers(history):
    """The tests that killed mutants of each function, as lines of the list."""
    killers = collections.defaultdict(collections.Counter)
    for function, test in history.killers:
        killers[function][test] += 1
    for function in sorted(killers):
        for test, _ in killers[function].most_common():
            if len(test) == 2:
                print('!', function, *test)


def write_alive(path, keys):
    with open(path, 'w', encoding='utf-8') as file:
        for function, before, after in keys:
            file.write(f'@ {function}\n- {before}\n+ {after}\n')


def key_of_inputs(program):
    """All that a test program is made of, and what it tests."""
    digest = hashlib.sha256()
    for folder in ('', 'test', 'test/fuzz'):
        for name in sorted(os.listdir(os.path.join(ROOT, folder))):
            is_anothers = name.startswith('test_') and name != program + '.c'
            if name.endswith(('.c', '.h')) and name != 'sqlite3.c' and not is_anothers:
                with open(os.path.join(ROOT, folder, name), 'rb') as file:
                    digest.update(file.read())
    return digest.hexdigest()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--sample', type=int, default=0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--only', default='')
    parser.add_argument('--again', action='store_true')
    parser.add_argument('--listed', action='store_true', help='also run those that the list has as survivors')
    parser.add_argument('--spend', type=float, default=1e9, help='seconds of tests after which a mutant is undecided')
    parser.add_argument('--resume', action='store_true', help='what was killed before, in a function that is as it was')
    parser.add_argument('--killers', action='store_true', help='print, for the list, what has killed where so far')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--build', default=os.path.join(ROOT, 'build', 'mutants'))
    parser.add_argument('-v', '--verbose', action='store_true')
    return parser.parse_args()


def choose(mutants, source, options, build):
    chosen = [m for m in mutants if re.search(options.only, m.function)]
    if options.again:
        with open(build.path('alive.json'), encoding='utf-8') as file:
            alive = {tuple(key) for key in json.load(file)}
        chosen = [m for m in chosen if key_of(source, m) in alive]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    return chosen


def disowned(results, suite):
    """The tests that killed, and now fail without a mutant: one has left something behind that it stumbles over."""
    killers = {tuple(by.split()) for _, verdict, by, _ in results if verdict == 'killed'} & set(suite.seconds)
    return {killer for killer in killers if not suite.passes(killer)}


def report(source, results, reasons, options, build, begun):
    by_verdict = collections.Counter(verdict for _, verdict, _, _ in results)
    alive = [key_of(source, m) for m, verdict, _, _ in results if verdict in ('alive', 'listed', 'undecided')]
    unexplained = [key for key in alive if key not in reasons and (key[0], '*', '*') not in reasons]
    with open(build.path('alive.json'), 'w', encoding='utf-8') as file:
        json.dump(alive, file)
    write_alive(build.path('alive.txt'), unexplained)
    killed, ran = by_verdict['killed'], by_verdict['killed'] + len(alive)
    percent = 100.0 * killed / ran if ran else 0.0
    kinds = collections.Counter(m.kind for m, _, _, _ in results)
    print(f'{len(results)} mutants of custmem.c: ' + ', '.join(f'{n} {k}' for k, n in sorted(kinds.items())))
    print(f'not run: {by_verdict["stillborn"]} do not compile, {by_verdict["equivalent"]} are the same object code, '
          f'{by_verdict["same"]} are listed as the same program')
    print(f'{killed} of {ran} killed ({percent:.2f} %), {len(alive)} alive ({by_verdict["listed"]} of them listed: '
          f'not run, or only with the fast tests), {len(unexplained)} without a reason in test/mutants.txt')
    print(f'{time.monotonic() - begun:.0f} s, {options.jobs} at a time')
    for function, before, after in unexplained[:40]:
        print(f'  {function}\n    - {before}\n    + {after}')
    return 0 if percent >= TARGET_PERCENT and not unexplained else 1


def main():
    options = arguments()
    begun = time.monotonic()
    with open(os.path.join(ROOT, 'custmem.c'), encoding='utf-8') as file:
        source = Source(file.read())
    mutants = Mutator(source).run()
    if options.list:
        for m in mutants:
            if re.search(options.only, m.function):
                print(m.line, m.kind, *key_of(source, m), sep='\t')
        return 0
    build = Build(options.build)
    if options.killers:
        print_killers(History(build.path('history.jsonl'), source))
        return 0
    programs = build.make()
    runner = Runner(build)
    suite = Suite(build, runner, options.jobs)
    suite.load(programs)
    print(f'{len(suite.seconds)} tests, {sum(suite.seconds.values()):.0f} s in all', flush=True)
    chosen = choose(mutants, source, options, build)
    campaign = Campaign(source, build, runner, suite, options.spend)
    reasons = read_reasons()
    history = History(build.path('history.jsonl'), source)
    for function, test in history.killers:
        if test in suite.seconds:
            campaign.credit(function, test)
    results, waiting = [], []
    for number, mutant in enumerate(chosen):
        reason = reasons.get(key_of(source, mutant))
        if reason is not None and not options.listed:
            results.append((mutant, 'same' if reason.startswith(SAME) else 'listed', '', 0.0))
        elif options.resume and history.verdict(mutant) in ('killed', 'equivalent', 'stillborn'):
            results.append((mutant, history.verdict(mutant), history.killer(mutant), 0.0))
        else:
            waiting.append((number, mutant))
    print(f'{len(chosen)} mutants, {len(waiting)} to run', flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(campaign.run, numbered) for numbered in waiting]
        for future in concurrent.futures.as_completed(futures):
            mutant, verdict, by, seconds = future.result()
            results.append((mutant, verdict, by, seconds))
            history.add(mutant, verdict, by)
            if options.verbose or verdict == 'alive':
                print(f'{verdict} {seconds:.1f} s line {mutant.line} {" | ".join(key_of(source, mutant))} {by}',
                      flush=True)
            if len(results) % 100 == 0:
                print(f'{len(results)} of {len(chosen)}, {time.monotonic() - begun:.0f} s', flush=True)
    for killer in sorted(disowned(results, suite)):
        print('fails without a mutant, too, so that what it killed does not count:', *killer)
        results = [(m, 'undecided' if by == ' '.join(killer) else verdict, by, seconds)
                   for m, verdict, by, seconds in results]
    return report(source, results, reasons, options, build, begun)


if __name__ == '__main__':
    sys.exit(main())
