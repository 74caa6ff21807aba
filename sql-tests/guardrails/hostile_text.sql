-- Whatever text comes, there is an answer, soon.
begin;
select no_plan();

create schema tests;
-- Milliseconds it takes, and what cannot be read of it.
create function tests.reads(p_text text) returns text language plpgsql as $$
declare
  v_began timestamptz := clock_timestamp();
  v_state coord.shell_state := coord.read_command(p_text);
begin
  return case when clock_timestamp() < v_began + interval '2 seconds' then 'soon' else 'late' end || coalesce(': ' || v_state.problems[1], '');
end
$$;

select matches(tests.reads(text), '^' || answer, what) from (values
  ('nested substitutions, open', repeat('$(', 32768), 'soon: too long'), ('fewer', repeat('$(', 8000), 'soon: a substitution is not closed'), ('closed, too deep', repeat('$(', 23) || repeat(')', 23), 'soon: nested too deep'),
  ('a megabyte', repeat('a', 1048576), 'soon: too long'), ('a megabyte of words', repeat('a ', 524288), 'soon: too long'), ('a megabyte of quotes', repeat('''', 1048575), 'soon: too long'),
  ('many quotes', repeat('''a'' ', 4000), 'soon: too many words'), ('many double quotes', 'echo ' || repeat('"a', 5001), 'soon: a quote is not closed'), ('many commands', repeat('a;', 9000), 'soon: too much to read'), ('brackets', repeat('(', 9000), 'soon: a bracket is not closed'),
  ('backticks', repeat('`', 9001), 'soon: too much to read'), ('braces', repeat('{a,', 6000), 'soon'), ('escapes', repeat('\', 15000), 'soon'), ('newlines', repeat(E'\n', 19000), 'soon'), ('here-documents', repeat(E'a <<E\n', 2000), 'soon'),
  ('dollars', repeat('$', 19000), 'soon'), ('many bytes', repeat('ü ', 1900), 'soon'), ('shells in shells', 'sh -c ' || repeat('"sh -c ', 100), 'soon'), ('wrappers', repeat('sudo ', 1999) || 'rm', 'soon'), ('a long heredoc', E'cat <<E\n' || repeat(E'it''s a "line" of $text\n', 600) || 'E', 'soon'),
  ('controls', E'\x01\x02\x03\x04\x05\x06\x07 x', 'soon'), ('nothing', '', 'soon'), ('blanks', E' \t\r\n ', 'soon'), ('null', null, 'soon')) v (what, text, answer);

-- What is told and stored of it takes no longer: a megabyte in which every word looks like a secret.
create function tests.redacts(p_text text) returns text language plpgsql as $$
declare
  v_began timestamptz := clock_timestamp();
  v_told text := coord.redacted_command(p_text);
begin
  return case when clock_timestamp() < v_began + interval '1 second' then 'soon' else 'late' end || case when length(v_told) <= 4000 then ', short' else '' end;
end
$$;
select is(tests.redacts(text), 'soon, short', left(text, 12)) from unnest(array[repeat('password="', 100000), repeat('token a', 150000), repeat('eyJ.', 250000), repeat('://a:', 200000), repeat('-----BEGIN PRIVATE KEY', 45000)]) text;

-- Every prefix of many commands.
create temp table whole (text text);
insert into whole select r.example from coord.guardrail_rules, unnest(matches || passes) r (example) where r.example not like '@%';
insert into whole values (E'cat <<-''E'' | while read -r l; do echo "$l" | tee >(wc -c) 2>&1; done\n\tx $(y)\n\tE\n'), ($$a=${b:-"${c#*d}"} e[$f]=1; case "$a" in x|y) z;; *) w;& esac$$),
  ($$find . \( -name a -o -name "b c" \) -prune -exec sh -c 'f $1' _ {} \; -o -print0 | xargs -0 -I% sh -c "echo '%'"$$), ($$python3 - <<'P'
import os; os.system('x "y"'); print(f"{a!r:>{w}}")
P$$), ($$printf '%s\n' "${x[@]/#/-}" $'a\'b\x41\u00e9' $((1<<2)) `echo \`date\`` {1..3} !! ~u/x ?[a-z]*$$), ($$f() { local -a x=(1 2); for ((i=0; i<3; i++)); do echo ${x[i]}; done; }; f &>/dev/null &$$);
select cmp_ok((select count(*) from whole), '>', 200::bigint, 'there are many commands');
create function tests.prefixes() returns integer language plpgsql as $$
declare
  v_text text;
  v_count integer := 0;
begin
  for v_text in select left(w.text, n) from whole w, generate_series(1, length(w.text)) n loop
    perform coord.judge(v_text, 'standard', 2, 'enforce', '/home/dev/project', '/home/dev/project');
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
select cmp_ok(tests.prefixes(), '>', 3000, 'and every prefix of them is judged');

select * from finish();
rollback;
