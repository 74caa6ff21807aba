-- Whatever way a host is written, one form is compared; what programs read differently is refused.
begin;
\ir ../helpers.sql
select no_plan();

create temp table written (text text, host text);
insert into written values
  ('example.com', 'example.com'), ('EXAMPLE.com', 'example.com'), ('Example.COM.', 'example.com'), (' example.com ', 'example.com'),
  ('example.com:443', 'example.com'), ('example.com:', 'example.com'), ('example.com.:8080', 'example.com'),
  ('https://example.com', 'example.com'), ('HTTPS://Example.Com/Path?q=1#f', 'example.com'), ('//example.com/x', 'example.com'),
  ('ssh://git@example.com:22/a/b.git', 'example.com'), ('example.com/path', 'example.com'), ('example.com?x', 'example.com'), ('example.com#x', 'example.com'),
  -- Who is before the @ is a user.
  ('https://good.com@evil.com/', 'evil.com'), ('https://good.com:443@evil.com/', 'evil.com'), ('good.com@evil.com', 'evil.com'),
  ('https://a@good.com@evil.com', 'evil.com'), ('https://good.com%40evil.com', null), ('https://evil.com#@good.com/', 'evil.com'),
  ('https://evil.com/@good.com', 'evil.com'), ('https://evil.com?@good.com', 'evil.com'), ('https://good.com&@evil.com', 'evil.com'),
  ('https://evil.com\@good.com', null), ('https://good.com\.evil.com', null), ('https:\\example.com', null),
  ('https:/example.com', null), ('https:example.com', null), ('https:///example.com', null), ('file:///etc/passwd', null), ('https://', null),
  ('user:pass@example.com', 'example.com'), ('mailto:a@example.com', 'example.com'),
  -- Beyond ASCII.
  ('bücher.example', 'xn--bcher-kva.example'), ('BÜCHER.example', 'xn--bcher-kva.example'), ('xn--bcher-kva.example', 'xn--bcher-kva.example'), ('XN--BCHER-KVA.example', 'xn--bcher-kva.example'),
  (U&'bu\0308cher.example', 'xn--bcher-kva.example'), ('münchen.de', 'xn--mnchen-3ya.de'), ('例え.テスト', 'xn--r8jz45g.xn--zckzah'), ('пример.испытание', 'xn--e1afmkfd.xn--80akhbyknj4f'),
  ('ПРИМЕР.ИСПЫТАНИЕ', 'xn--e1afmkfd.xn--80akhbyknj4f'), ('παράδειγμα.δοκιμή', 'xn--hxajbheg2az3al.xn--jxalpdlp'), ('ΠΑΡΆΔΕΙΓΜΑ.ΔΟΚΙΜΉ', 'xn--hxajbheg2az3al.xn--jxalpdlp'),
  ('他们为什么不说中文', 'xn--ihqwcrb4cv8a8dqg056pqjye'), ('☃.net', 'xn--n3h.net'), ('💩.la', 'xn--ls8h.la'), (U&'example\3002com', 'example.com'),
  ('ｅｘａｍｐｌｅ．ｃｏｍ', 'example.com'), (U&'example\FF61com', 'example.com'), ('gооgle.com', 'xn--ggle-55da.com'), ('ß.de', 'xn--zca.de'), ('ẞ.de', 'ss.de'), ('ΑΣ.gr', 'xn--mxa0b.gr'),
  (U&'good.com\FF0Fevil.com', null), (U&'good\2100.com', null), (U&'good.com\FF1A80', null), (U&'good\200B.com', null), (U&'go\00ADod.com', null), (U&'go\202Eod.com', null),
  (U&'good\FE0F.com', null), (U&'good.com\00A0', null), (U&'xn--b\00FC.com', null), (U&'good\FEFF.com', null),
  -- IPv4.
  ('192.0.2.1', '192.0.2.1'), ('192.0.2.1:80', '192.0.2.1'), ('192.0.2.1.', '192.0.2.1'), ('http://3221225985/', '192.0.2.1'), ('0xC0000201', '192.0.2.1'), ('0xc0.0.2.1', '192.0.2.1'),
  ('0300.0.02.01', '192.0.2.1'), ('192.0.513', '192.0.2.1'), ('192.513', '192.0.2.1'), ('030000001001', '192.0.2.1'), ('127.1', '127.0.0.1'), ('0', '0.0.0.0'), ('0x', '0.0.0.0'),
  ('0x7f.1', '127.0.0.1'), ('00000000177.0.0.1', '127.0.0.1'), ('0x00000000007f.1', '127.0.0.1'), ('１２７.0.0.1', '127.0.0.1'), ('127。0。0。1', '127.0.0.1'), ('4294967295', '255.255.255.255'), ('037777777777', '255.255.255.255'),
  ('4294967296', null), ('256.1.1.1', null), ('1.2.3.4.5', null), ('1.2.3.256', null), ('08.1.1.1', null), ('1.2.3.0x100', null), ('99999999999999999999', null), ('0x100000000', null),
  ('040000000000', null), ('example.1', null), ('example.0x1', null), ('1.1.1.1.example', '1.1.1.1.example'), ('0x1g', '0x1g'), ('1e3', '1e3'),
  -- IPv6.
  ('[::1]', '::1'), ('::1', '::1'), ('[::1]:443', '::1'), ('http://[2001:DB8::1]:80/x', '2001:db8::1'), ('2001:db8:0:0:0:0:0:1', '2001:db8::1'),
  ('[::ffff:192.0.2.1]', '192.0.2.1'), ('[::ffff:c000:201]', '192.0.2.1'), ('0:0:0:0:0:ffff:c000:0201', '192.0.2.1'), ('[fe80::1%25eth0]', null), ('[fe80::1%eth0]', null),
  ('[::1', null), ('::1]', null), ('[::1]x', null), ('[1.2.3.4]', null), ('[::g]', null), ('1:2:3', null), ('[::1/64]', null), ('[]', null), ('::ffff:1.2.3.400', null),
  -- What is no host.
  ('.example.com', null), ('example..com', null), ('example.com..', null), ('.', null), ('..', null), ('exa mple.com', null), ('example.com:99999', null), ('example.com:port', null),
  ('example.com:-1', null), ('*.example.com', null), ('*', null), ('-example.com', null), ('example-.com', null), ('a_b.example.com', 'a_b.example.com'), ('_dmarc.example.com', '_dmarc.example.com'),
  (e'example.com\n', null), (e'exam\tple.com', null), (e'example.com\r\nHost: good.com', null), (e'example\x01.com', null), (e'example\x7f.com', null), ('example.com%00', null), ('ex%61mple.com', null),
  (repeat('a', 63) || '.com', repeat('a', 63) || '.com'), (repeat('a', 64) || '.com', null), (repeat('abcdefg.', 31) || 'hijkl', repeat('abcdefg.', 31) || 'hijkl'), (repeat('abcdefg.', 31) || 'hijklm', null),
  (repeat('ü', 63) || '.com', null), ('localhost', 'localhost'), ('example.com,evil.com', null), ('example.com;evil.com', null), ('$(id).com', null), ('<b>.com', null);
select cmp_ok((select count(*) from written), '>=', 80::bigint, 'many hosts');
create function tests.host(p_text text) returns text language plpgsql as $$
begin
  return coord.canonical_host(p_text);
exception when sqlstate 'PT400' then
  return null;
end
$$;
select is(tests.host(text), host, format('%s is %s', quote_literal(left(text, 60)), coalesce(left(host, 60), 'refused'))) from written;
select is_empty($$select text from written where host is not null and tests.host(host) is distinct from host$$, 'the one form is itself');

-- RFC 3492, section 7.1.
create temp table sample (label text, code text);
insert into sample values
  ('ليهمابتكلموشعربي؟', 'egbpdaj6bu4bxfgehfvwxn'), ('他们为什么不说中文', 'ihqwcrb4cv8a8dqg056pqjye'), ('他們爲什麽不說中文', 'ihqwctvzc91f659drss3x8bo0yb'),
  ('Pročprostěnemluvíčesky', 'Proprostnemluvesky-uyb24dma41a'), ('למההםפשוטלאמדבריםעברית', '4dbcagdahymbxekheh6e0a7fei0b'),
  ('почемужеонинеговорятпорусски', 'b1abfaaepdrnnbgefbadotcwatmq2g4l'), ('TạisaohọkhôngthểchỉnóitiếngViệt', 'TisaohkhngthchnitingVit-kjcr8268qyxafd2f1b9g'),
  ('3年B組金八先生', '3B-ww4c5e180e575a65lsy2b'), ('そのスピードで', 'd9juau41awczczp'), ('-> $1.00 <-', '-> $1.00 <--');
select is(coord.punycode(label), code, 'RFC 3492: ' || label) from sample;

select * from finish();
rollback;
