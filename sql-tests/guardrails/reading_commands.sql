-- What a command line would run, however it is written.
begin;
select no_plan();

create schema tests;
create function tests.lines(p_text text) returns text language sql return (
  select string_agg(c.line, ' ; ' order by n)
  from unnest((coord.read_command(p_text, '/home/dev/project', '/home/dev/project')).commands)
    with ordinality c (names, line, verbs, operands, flags, classes, reads, writes, sources, sql, does, list, n));

create temp table given (text text, runs text);
insert into given values
  ($$ls -l$$, 'ls -l'), ($$ls;pwd&&date||id$$, 'ls ; pwd ; date ; id'), ($$a | b |& c & d$$, 'a ; b ; c ; d'), (E'ls\npwd\r\ndate', 'ls ; pwd ; date'), (E'ls \\\n -l', 'ls -l'),
  ($$ls # pwd; date$$, 'ls'), ($$ls a#b$$, 'ls a#b'), (E'# "\nls', 'ls'), ($$echo 'a;b' "c;d" e\;f$$, 'echo a;b c;d e;f'), ($$echo "a 'b' \"c\""$$, 'echo a ''b'' "c"'),
  ($$r\m -r'f' "x"$$, 'rm -rf x'), ($$'rm' x$$, 'rm x'), ($$/bin/rm x$$, '/bin/rm x'), ($$echo $'a\tb\x41'$$, E'echo a\tbA'), ($$$'\x72m' x$$, 'rm x'), ($$echo 'it'"'"'s'$$, 'echo it''s'),
  ($$a=rm; $a x$$, '(set) ; rm x'), ($$a="rm -r x"; $a$$, '(set) ; rm -r x'), ($$a=x; b=$a-y; echo "$b"$$, '(set) ; (set) ; echo x-y'), ($$echo ${NO:-x} ${NO:+y}$$, 'echo x y'), ($$rm${IFS}x$$, 'rm x'), ($$: ${t:=rm}; $t x$$, ': rm ; rm x'),
  ($$a=1; echo '$a' \$a$$, '(set) ; echo $a $a'), ($$HOME=/x true; echo $HOME$$, 'true ; echo /home/dev'), ($$rm {a,b}/c x{1,2}$$, 'rm a/c b/c x1 x2'), ($$for f in a b; do rm $f; done$$, 'rm a b'),
  ($$(cd a; ls)$$, 'cd a ; ls'), ($${ ls; pwd; }$$, 'ls ; pwd'), ($$if a; then b; elif c; then d; else e; fi$$, 'a ; b ; c ; d ; e'), ($$while a; do b; done$$, 'a ; b'), ($$! a$$, 'a'), ($$f() { rm x; }; f$$, 'rm x ; f'), ($$time -p ls$$, 'ls'),
  ($$echo $(rm x)$$, 'rm x ; echo $(rm x)'), ($$echo "`rm x`"$$, 'rm x ; echo $(rm x)'), ($$echo "$(echo "$(rm x)")"$$, 'rm x ; echo $(rm x) ; echo $(echo "$(rm x)")'), ($$diff <(a) <(b)$$, 'a ; b ; diff <() <()'), ($$echo $((1 + $(rm x)))$$, 'rm x ; echo 1'),
  ($$$(echo rm) x$$, 'echo rm ; rm x'), ($$$(printf 'r%s' m) x$$, 'printf r%s m ; rm x'), ($$echo '$(rm x)'$$, 'echo $(rm x)'), ($$echo "\$(rm x)"$$, 'echo $(rm x)'), ($$x=$(date); echo ok$$, 'date ; (set) ; echo ok'),
  (E'cat <<E\nrm x\nE', 'cat'), (E'bash <<E\nrm x\nE', 'bash ; rm x'), (E'cat <<"E"\n$(rm x)\nE', 'cat'), (E'cat <<E\n$(rm x)\nE', 'rm x ; cat'), (E'cat <<-E | sh\n\trm x\n\tE\nls', 'cat ; sh ; rm x ; ls'), (E'cat <<A <<B; ls\n1\nA\n2\nB\npwd', 'cat ; ls ; pwd'),
  ($$sh <<< 'rm x'$$, 'sh ; rm x'), ($$cat <<< 'rm x'$$, 'cat'), ($$echo 'rm x' | sh$$, 'echo rm x ; sh ; rm x'), ($$echo cm0geA== | base64 -d | bash$$, 'echo cm0geA== ; base64 -d ; bash ; rm x'), ($$printf '\162m x' | sh -s$$, 'printf \162m x ; sh -s ; rm x'), ($$echo 726d2078 | xxd -r -p | sh$$, 'echo 726d2078 ; xxd -r -p ; sh ; rm x'),
  ($$a > f 2>&1 < g &> h$$, 'a'), ($$2>/dev/null rm x$$, 'rm x'), ($$rm 2>/dev/null x$$, 'rm x'), ($$> f$$, ':'),
  ($$sudo -u root -E rm x$$, 'rm x'), ($$sudo -- rm x$$, 'rm x'), ($$env -i A=1 B=2 rm x$$, 'rm x'), ($$env -u A rm x$$, 'rm x'), ($$env -S 'rm -r x'$$, 'rm -r x'), ($$nice -n 5 ionice -c2 timeout -k 5 10s nohup rm x$$, 'rm x'), ($$stdbuf -oL setsid time rm x$$, 'rm x'),
  ($$command rm x$$, 'rm x'), ($$command -v rm$$, 'command -v rm'), ($$exec rm x$$, 'rm x'), ($$busybox rm x$$, 'rm x'), ($$doas -u a rm x$$, 'rm x'), ($$\sudo rm x$$, 'rm x'),
  ($$echo a b | xargs rm -f$$, 'echo a b ; rm -f a b'), ($$ls | xargs -n1 -P 4 rm$$, 'ls ; rm $stdin'), ($$echo a | xargs -I{} sh -c 'rm {}'$$, 'echo a ; rm a'), ($$find . -name '*.o' -exec rm {} +$$, 'rm ./*.o ; find . -name *.o -exec rm {} +'), ($$find a -execdir sh -c 'rm x' \;$$, 'rm x ; find a -execdir sh -c rm x ;'),
  ($$bash -c 'rm x'$$, 'rm x'), ($$bash -lc 'rm x; ls'$$, 'rm x ; ls'), ($$bash -o pipefail -ec 'rm x'$$, 'rm x'), ($$bash -c -- 'rm x'$$, 'rm x'), ($$sh -c 'rm $1' _ x$$, 'rm x'), ($$sh -c "sh -c 'rm x'"$$, 'rm x'), ($$eval rm x$$, 'eval rm x ; rm x'), ($$eval 'a=rm'; $a x$$, 'eval a=rm ; (set) ; rm x'),
  ($$ssh -p 22 host 'rm x'$$, 'ssh -p 22 host rm x ; rm x'), ($$watch -n 1 'rm x'$$, 'watch -n 1 rm x ; rm x'), ($$su - me -c 'rm x'$$, 'su - me -c rm x ; rm x'), ($$trap 'rm x' EXIT$$, 'trap rm x EXIT ; rm x'), ($$parallel rm ::: a b$$, 'parallel rm ::: a b ; rm a b'), ($$tmux new -d 'rm x'$$, 'tmux new -d rm x ; rm x'),
  ($$git -C a -c b=c status$$, 'git status'), ($$git -c alias.z='!rm x' z$$, 'rm x ; (alias) ; git z'), ($$git -c alias.z='push -f' z$$, 'git push -f ; git z'),
  ($$python3 -c 'import os; os.system("rm x")'$$, 'python3 ; python (code) ; rm x'), ($$perl -e 'system("rm", "x")'$$, 'perl ; perl (code) ; rm x'), ($$ruby -e '`rm x`'$$, 'ruby ; ruby (code) ; rm x'), ($$awk 'BEGIN { system("rm x") }'$$, 'awk ; awk (code) ; rm x'), ($$node -e 'require("child_process").execSync("rm x")'$$, 'node ; node (code) ; rm x ; child_process rm x'),
  ($$export X=rm; bash -c '$X x'$$, 'export X=rm ; rm x'), ($$read T <<< rm; $T x$$, 'read T ; rm x'), ($$unset t; ${t:-rm} x$$, 'unset t ; rm x'), ($$case $x in a) rm x;; esac$$, 'rm x');
update given set runs = replace(runs, 'python3 ;', 'python ;');
select is(tests.lines(text), runs, text) from given;

-- What stays open is said.
select is((coord.read_command(text)).problems[1], problem, text) from (values
  ($$echo "a$$, 'a quote is not closed'), ($$echo 'a$$, 'a quote is not closed'), ($$echo $(a$$, 'a substitution is not closed'), ($$echo ${a$$, 'a substitution is not closed'), ($$(a$$, 'a bracket is not closed'), ($$$'a$$, 'a quote is not closed'),
  ($$$X -r$$, 'the program is not known: $X'), ($$$(date) x$$, 'the program is not known: $(date)'), ($$x=$(a); "$x" b$$, 'the program is not known: $(a)'), ($$eval "$X"$$, 'the program is not known: $_'), ($$bash -c "$X"$$, 'the program is not known: $_'),
  ($$echo "a"$$, null), ($$$X/bin/ls$$, null), ($$ls $X$$, null)) v (text, problem);

-- Where paths point.
select is(array_to_string(coord.path_classes(path, '/home/dev/project/src', '/home/dev/project', '/home/dev'), ' '), classes, path) from (values
  ('a.c', 'repo'), ('./', 'repo'), ('..', 'repo_root'), ('../*', 'repo_root'), ('../..', 'home'), ('../../other/x', 'outside'), ('/', 'root'), ('/*', 'root'), ('//', 'root'), ('/./', 'root'), ('~', 'home'), ('~/', 'home'), ('~/*', 'home'), ('~/x', 'outside'), ('~root', 'home'), ('/home', 'home'),
  ('/home/dev/project', 'repo_root'), ('/home/dev/project/..', 'home'), ('/home/dev/project/../../../etc', 'system'), ('/etc/hosts', 'system startup'), ('/usr/bin/x', 'system'), ('/tmp', 'temp_root'), ('/tmp/a', 'temp'), ('/tmp/../etc', 'system'), ('/var/tmp/a', 'temp'), ('/dev/sda', 'device'), ('/dev/null', ''), ('/dev/tcp/a/1', 'network'),
  ('~/Documents/a', 'personal outside'), ('../.git/config', 'repo git control'), ('.env', 'repo credential'), ('.env.local', 'repo credential'), ('.env.example', 'repo'), ('~/.ssh/id_rsa', 'outside credential'), ('~/.ssh/id_rsa.pub', 'outside'), ('~/.aws/credentials', 'outside credential'), ('server.key', 'repo credential'), ('src/keyboard.ts', 'repo'),
  ('../.claude/settings.local.json', 'repo control'), ('../CLAUDE.md', 'repo instructions'), ('~/.bashrc', 'outside startup'), (E'\x01X\x02/a', 'unknown'), (E'/tmp/\x01X\x02', 'temp'), ('https://a/b', ''), ('', '')) v (path, classes);

select * from finish();
rollback;
