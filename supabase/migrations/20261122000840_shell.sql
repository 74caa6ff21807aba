-- The shell reader: which commands a command line would run.
--
-- coord.read_shell walks over a text once and hands every simple command it meets to
-- coord.run_words, which unwraps it (sudo, env, xargs, find -exec, ssh, …), goes down into
-- code (bash -c, eval, what is piped into a shell, python -c) and adds what is left, with
-- the facts that rules ask for, to the state. Nothing is run, and nothing is looked up
-- outside the text: a variable is known when the text gave it a literal value.
--
-- In words under way
--   \x01NAME\x02     what nobody can know: a variable without a value here, some output
--   \x04a\x03b\x04   one of several: a brace list, the variable of a loop
--   \x05             where an unquoted value falls into words
--
-- The reader errs on the side of running: both branches of an if, the body of a function
-- that is only defined. What it cannot read it says (problems); whoever asks decides.
--
-- Bounds: 128 kB, 20,000 pieces, 16 levels, 400 commands, 500 texts within texts, 2,000 words
-- of one command; and a second, which only a machine that is very busy needs.
--
-- Few regexes, on purpose: PostgreSQL keeps 32 compiled ones in a backend, and the rules
-- need theirs.

set role coord_owner;

create type coord.shell_command as (
  names text[],
  line text,
  verbs text[],
  operands text[],
  flags text[],
  classes text[],
  reads text[],
  writes text[],
  sources text[],
  sql text[],
  does text[],
  list text
);
comment on type coord.shell_command is 'A command that would run, and what rules ask of it: names (program, @kind, *), its line, the first operands joined (verbs), operands, flags, classes of the paths among operands, of those read and written, what is fed into it, kinds of SQL statements, whatever else is known (does), and the operands in lines (list).';

create type coord.shell_state as (
  cwd text,
  root text,
  home text,
  vars jsonb,
  functions text[],
  calls text[],
  inside text,
  endless boolean,
  tainted text[],
  files jsonb,
  commands coord.shell_command[],
  output text,
  tags text[],
  problems text[],
  depth integer,
  texts integer,
  deadline timestamptz
);
comment on type coord.shell_state is 'The reader under way: where it is, what it knows, what it has found; output and tags are those of the last command.';

create table coord.shell_programs (
  name text primary key,
  kind text,
  access text not null default 'read',
  letters text not null default '',
  names text[] not null default '{}',
  known text[] not null default '{}',
  skip integer not null default 0,
  constraint kind_is_known check (kind in ('wrapper', 'code', 'shell', 'language', 'find', 'fetch')),
  constraint access_is_known check (access in ('read', 'write', 'copy', 'move', 'pattern', 'none'))
);
comment on table coord.shell_programs is 'What the reader knows of programs: wrappers run their operands after skip of them, code runs them as shell code; what they do with paths; short and long options that take a value, and other long ones, for abbreviations.';
alter table coord.shell_programs enable row level security;
alter table coord.shell_programs force row level security;
create policy everyone_reads on coord.shell_programs
  for all to coord_owner, coord_agent, coord_operator, coord_auditor using (true);
grant select on coord.shell_programs to coord_agent, coord_operator, coord_auditor;

insert into coord.shell_programs (name, kind, letters, names, skip)
select w.name, 'wrapper', w.letters, w.names::text[], w.skip
from (values
  ('sudo', 'ugpChrtTUDR', '{user,group,prompt,close-from,chdir,host,role,type,chroot,command-timeout,other-user}', 0), ('doas', 'uC', '{}', 0), ('pkexec', '', '{user}', 0),
  ('env', 'uCS', '{unset,chdir,split-string}', 0), ('nice', 'n', '{adjustment}', 0), ('ionice', 'cnpt', '{class,classdata}', 0), ('chrt', 'TPD', '{}', 1), ('taskset', '', '{}', 1),
  ('timeout', 'ks', '{kill-after,signal}', 1), ('gtimeout', 'ks', '{kill-after,signal}', 1), ('nohup', '', '{}', 0), ('setsid', '', '{}', 0), ('stdbuf', 'ioe', '{input,output,error}', 0), ('unbuffer', '', '{}', 0),
  ('time', 'fo', '{format,output}', 0), ('command', '', '{}', 0), ('builtin', '', '{}', 0), ('exec', 'a', '{}', 0), ('busybox', '', '{}', 0), ('toybox', '', '{}', 0), ('caffeinate', 'tw', '{}', 0),
  ('strace', 'eopsuaPIO', '{output,expr,user}', 0), ('ltrace', 'eopsuanlx', '{}', 0), ('unshare', 'RSGw', '{root,wd,setuid,setgid}', 0), ('nsenter', 'tSGrw', '{target}', 0), ('chroot', '', '{userspec,groups}', 1),
  ('xargs', 'IdEnLPsa', '{delimiter,max-args,max-procs,max-chars,arg-file,process-slot-var}', 0), ('flock', 'wE', '{timeout,wait,conflict-exit-code}', 1), ('setarch', '', '{}', 1), ('prlimit', '', '{}', 0),
  ('dbus-run-session', '', '{}', 0), ('systemd-run', 'pHMuE', '{property,unit,description,slice,uid,gid,setenv,working-directory}', 0), ('firejail', '', '{}', 0), ('proxychains', 'f', '{}', 0), ('proxychains4', 'f', '{}', 0),
  ('torsocks', '', '{}', 0), ('runuser', 'uglc', '{user,group,command}', 0), ('gosu', '', '{}', 1), ('su-exec', '', '{}', 1), ('fakeroot', '', '{}', 0), ('xvfb-run', 'nsef', '{}', 0), ('dotenv', 'ef', '{}', 0),
  ('noglob', '', '{}', 0), ('nocorrect', '', '{}', 0), ('rtk', '', '{}', 0), ('mise-exec', '', '{}', 0), ('direnv-exec', '', '{}', 1), ('op-run', '', '{}', 0)) w (name, letters, names, skip);

insert into coord.shell_programs (name, kind, letters, names, skip)
select w.name, 'code', w.letters, w.names::text[], w.skip
from (values
  ('eval', '', '{}', 0), ('watch', 'nq', '{interval,equexit}', 0), ('ssh', 'bcDEeFIiJLlmOopQRSWwB', '{}', 1), ('su', 'gGsw', '{shell,group,supp-group}', 0), ('parallel', 'jaSIN', '{jobs,arg-file,results,joblog,colsep,delay,timeout}', 0),
  ('tmux', 'LSfctnxyF', '{}', 0), ('screen', 'Sspctx', '{}', 0), ('script', 'ELOITBm', '{}', 0), ('trap', '', '{}', 0), ('entr', '', '{}', 0), ('nodemon', 'wei', '{}', 0), ('start-stop-daemon', '', '{}', 0)) w (name, letters, names, skip);

insert into coord.shell_programs (name, kind, letters, names)
select s, 'shell', 'oO', '{rcfile,init-file}' from unnest(array['sh', 'bash', 'zsh', 'dash', 'ash', 'ksh', 'ksh93', 'mksh', 'fish', 'csh', 'tcsh', 'yash', 'rbash', 'pwsh', 'powershell', 'source', '.']) s;

insert into coord.shell_programs (name, kind, letters, names)
select l.name, 'language', l.letters, l.names::text[]
from (values ('python', 'cmWX', '{}'), ('perl', 'eEIM', '{}'), ('ruby', 'erI', '{}'), ('node', 'epr', '{eval,print,require,import}'), ('nodejs', 'epr', '{eval,print,require}'), ('bun', 'epr', '{eval,print,preload}'), ('deno', '', '{}'),
  ('php', 'rdcf', '{run}'), ('lua', 'e', '{}'), ('osascript', 'el', '{}'), ('tclsh', '', '{}'), ('awk', 'Fv', '{}'), ('gawk', 'Fve', '{source}'), ('mawk', 'Fv', '{}'), ('nawk', 'Fv', '{}'), ('julia', 'eE', '{eval}'), ('rscript', 'e', '{}'), ('elixir', 'e', '{eval}')) l (name, letters, names);

insert into coord.shell_programs (name, kind, access) values ('find', 'find', 'none'), ('gfind', 'find', 'none'), ('fd', 'find', 'none'), ('fdfind', 'find', 'none');

insert into coord.shell_programs (name, kind, access, letters, names) values
  ('curl', 'fetch', 'none', 'AbCcDdeEFHhKmoPQrTtuUwxXyYz', '{data,data-binary,data-raw,data-urlencode,form,header,output,output-dir,request,user,user-agent,upload-file,url,proxy,cookie,cookie-jar,config,cacert,cert,key,max-time,connect-timeout,retry,referer,range,write-out,json,help}'),
  ('wget', 'fetch', 'none', 'OoaePtTQUwBDAR', '{output-document,output-file,post-data,post-file,body-file,body-data,method,header,user,password,directory-prefix,tries,timeout,user-agent}'),
  ('http', 'fetch', 'none', 'oa', '{output,auth,session,verify}'), ('https', 'fetch', 'none', 'oa', '{output,auth}'), ('xh', 'fetch', 'none', 'oa', '{output,auth}'), ('aria2c', 'fetch', 'none', 'od', '{out,dir}'),
  ('fetch', 'fetch', 'none', 'o', '{}'), ('lwp-request', 'fetch', 'none', '', '{}'), ('get', 'fetch', 'none', '', '{}'), ('iwr', 'fetch', 'none', '', '{}'), ('invoke-webrequest', 'fetch', 'none', '', '{}');

-- What the others do with the paths they are given.
insert into coord.shell_programs (name, access)
select n, a.access
from (values
  ('write', '{rm,rmdir,unlink,shred,truncate,touch,tee,mkdir,chattr,setfacl,trash,srm,wipe}'),
  ('copy', '{cp,install,ln,rsync,scp,ditto,rclone}'), ('move', '{mv,rename}'),
  ('none', '{echo,printf,true,false,test,[,[[,ls,ll,dir,tree,stat,file,du,df,which,type,whereis,man,help,pwd,basename,dirname,realpath,readlink,pip,npm,yarn,pnpm,cargo,go,make,docker,podman,kubectl,helm,terraform,tofu,aws,gcloud,az,gh,glab,apt,apt-get,brew,export,declare,local,readonly,typeset,unset,alias,set,kill,pkill,killall,date,sleep,seq,uname,id,whoami,hostname,tail-f,psql,mysql,mongosh,redis-cli,tr,jest,vitest,pytest,git,gitk,hub,exit,return,wait,cd,pushd,popd,mkfifo,systemctl,service,launchctl,journalctl,yes,expr,let,rustc,javac,mvn,gradle,read,mapfile,vercel,fly,stripe,vault,op,doppler}')) a (access, names), unnest(a.names::text[]) n;
insert into coord.shell_programs (name, access, letters, names, known) values
  ('chmod', 'write', '', '{reference}', '{recursive}'), ('chown', 'write', '', '{reference,from}', '{recursive}'), ('chgrp', 'write', '', '{reference}', '{recursive}'),
  ('grep', 'pattern', 'efmABCD', '{regexp,file,max-count,after-context,before-context,context,include,exclude,exclude-dir}', '{}'), ('egrep', 'pattern', 'efmABC', '{regexp,file}', '{}'), ('fgrep', 'pattern', 'efmABC', '{regexp,file}', '{}'),
  ('rg', 'pattern', 'efgtTmABCjM', '{regexp,file,glob,type,max-count,after-context,before-context,context,max-depth}', '{}'), ('ag', 'pattern', 'ABCmgG', '{}', '{}'), ('ack', 'pattern', 'ABCm', '{}', '{}'),
  ('sed', 'pattern', 'efl', '{expression,file}', '{in-place}'), ('jq', 'pattern', 'f', '{from-file,arg,argjson}', '{}'), ('yq', 'pattern', '', '{}', '{}'),
  ('head', 'read', 'nc', '{lines,bytes}', '{}'), ('tail', 'read', 'nc', '{lines,bytes}', '{}'), ('cut', 'read', 'dfbc', '{delimiter,fields}', '{}'), ('dd', 'copy', '', '{}', '{}'),
  ('base64', 'read', 'wbio', '{wrap}', '{decode}'), ('tar', 'read', 'fCTX', '{file,directory,exclude,exclude-from,files-from}', '{}'), ('nc', 'none', 'eicpqswXx', '{exec,sh-exec}', '{listen}'), ('ncat', 'none', 'eicpqsw', '{exec,sh-exec,lua-exec}', '{listen}');
update coord.shell_programs set known = '{recursive,force,interactive,dir,no-preserve-root,preserve-root,verbose,one-file-system}' where name = 'rm';
update coord.shell_programs set letters = 's', names = '{size,reference}' where name = 'truncate';
update coord.shell_programs set letters = 'nsz', names = '{size,iterations,random-source}', known = '{remove,zero,force}' where name = 'shred';
update coord.shell_programs set letters = 'eBfTM', names = '{rsh,exclude,include,exclude-from,include-from,files-from,filter,backup-dir,bwlimit,password-file}',
  known = '{delete,delete-before,delete-during,delete-after,delete-excluded,delete-delay,remove-source-files,dry-run,list-only,force}' where name = 'rsync';
update coord.shell_programs set letters = 'cFiJloPS' where name = 'scp';
update coord.shell_programs set letters = 'tS', names = '{target-directory,suffix}' where name in ('cp', 'mv', 'ln', 'install');
update coord.shell_programs set letters = 'hpdUfvo', names = '{host,port,dbname,username,file}' where name = 'psql';
update coord.shell_programs set letters = 'huPD', names = '{host,user,port,database}' where name = 'mysql';
update coord.shell_programs set letters = 'hpanu' where name = 'redis-cli';
update coord.shell_programs set names = '{region,profile,output,endpoint-url,query,cli-input-json}' where name = 'aws';
update coord.shell_programs set names = '{project,account,format,region,zone,organization}' where name = 'gcloud';
update coord.shell_programs set letters = 'R', names = '{repo}' where name in ('gh', 'glab');
update coord.shell_programs set letters = 'nfo', names = '{namespace,context,kubeconfig,cluster,user,output,filename,selector}' where name = 'kubectl';
update coord.shell_programs set letters = 'Hfpvew', names = '{host,context,filter,file,project-name,volume,env}' where name in ('docker', 'podman');

-- git has other options for each of its commands.
insert into coord.shell_programs (name, letters, names, known, access)
select 'git' || g.name, g.letters, g.names::text[], g.known::text[], 'none'
from (values
  ('-global', 'Cc', '{git-dir,work-tree,namespace,config-env,exec-path,super-prefix}', '{}'),
  (' push', 'o', '{repo,receive-pack,exec,push-option}', '{force,force-with-lease,force-if-includes,mirror,delete,all,tags,prune,dry-run,no-verify,quiet,verbose,set-upstream,follow-tags,atomic}'),
  (' commit', 'mFCct', '{message,file,reuse-message,reedit-message,author,date,template,trailer,fixup,squash}', '{amend,no-verify,all}'),
  (' reset', 'U', '{pathspec-from-file,unified,inter-hunk-context}', '{hard,soft,mixed,merge,keep}'), (' clean', 'e', '{exclude}', '{force,dry-run,interactive}'),
  (' checkout', 'bBU', '{orphan,conflict,pathspec-from-file,unified,inter-hunk-context}', '{force,ours,theirs,track,detach,patch,merge,guess}'),
  (' switch', 'cC', '{create,force-create,orphan,conflict}', '{force,discard-changes,detach,merge}'), (' restore', 'sU', '{source,pathspec-from-file,conflict,unified,inter-hunk-context}', '{staged,worktree,patch,help,ours,theirs}'),
  (' branch', 'u', '{set-upstream-to,contains,merged,no-merged,sort,format,points-at}', '{delete,force,move,copy,list}'), (' tag', 'mFu', '{message,file,local-user,contains,sort,format}', '{delete,force,list}'),
  (' rm', '', '{pathspec-from-file}', '{force,cached,dry-run,recursive}'), (' stash', 'm', '{message}', '{}'), (' gc', '', '{}', '{prune,aggressive,auto,force}'), (' prune', '', '{expire}', '{dry-run,verbose}'),
  (' reflog', '', '{expire,expire-unreachable}', '{all,dry-run}'), (' worktree', 'b', '{reason}', '{force}'), (' rebase', 'xsX', '{onto,exec,strategy}', '{force-rebase,no-verify,interactive,abort,continue}'),
  (' merge', 'msX', '{message,strategy}', '{no-verify,abort}'), (' update-ref', 'm', '{}', '{stdin}'), (' filter-repo', '', '{path,replace-text}', '{force}'), (' config', 'f', '{file,blob,type}', '{global,system,unset,unset-all}'),
  (' submodule', 'bj', '{branch}', '{force,all}'), (' log', 'nGSL', '{max-count,author,grep,since,until,format,pretty}', '{}'), (' archive', 'o', '{output,format,prefix,exec}', '{remote}'), (' fetch', 'oj', '{upload-pack,depth}', '{force,prune}'),
  (' pull', 'sX', '{}', '{force,rebase,no-verify}'), (' clone', 'bcou', '{branch,config,depth,origin,upload-pack}', '{}'), (' am', '', '{}', '{no-verify,abort}'), (' cherry-pick', 'm', '{}', '{}')) g (name, letters, names, known);

-- Paths --------------------------------------------------------------------------------

create function coord.plain_path(p_path text, p_cwd text, p_home text) returns text
language plpgsql immutable
as $$
declare
  v_path text := p_path;
  v_parts text[];
  v_part text;
begin
  if v_path like '~%' then
    v_path := case when v_path = '~' or v_path like '~/%' then p_home || substr(v_path, 2)
      when v_path like '~+%' then p_cwd || substr(v_path, 3) else '/home/' || substr(v_path, 2) end;
  elsif v_path not like '/%' and v_path not like E'\x01%' then
    v_path := p_cwd || '/' || v_path;
  end if;
  if strpos(v_path, '/.') + strpos(v_path, '//') > 0 or v_path like '%_/' then
    foreach v_part in array string_to_array(v_path, '/') loop
      if v_part = '..' then
        v_parts := trim_array(v_parts, least(1, cardinality(v_parts)));
      elsif v_part not in ('', '.') then
        v_parts := v_parts || v_part;
      end if;
    end loop;
    v_path := case when v_path like E'\x01%' then '' else '/' end || coalesce(array_to_string(v_parts, '/'), '');
  end if;
  return v_path;
end
$$;
comment on function coord.plain_path is 'A path from the root, without dots; it begins with \x01 where nobody knows.';

create function coord.path_classes(p_path text, p_cwd text, p_root text, p_home text) returns text[]
language plpgsql immutable
as $$
declare
  v_path text;
  v_top text;
  v_bare text;
  v_found text[];
begin
  if p_path = '' or p_path = '-' or length(p_path) > 4096 or strpos(p_path, '://') > 0 then
    return array[]::text[];
  end if;
  v_path := coord.plain_path(p_path, p_cwd, p_home);
  -- With a glob at the end it means all that is there.
  v_bare := case when v_path like '%/*' or v_path like '%/.*' then left(v_path, -1 - length(split_part(v_path, '/', -1))) else v_path end;
  v_top := split_part(v_path, '/', 2);
  v_found := string_to_array(case
    when v_path in ('', '/') or v_bare in ('', '/') then 'root'
    when v_path like E'\x01%' then 'unknown'
    when v_bare = p_root then 'repo_root'
    when starts_with(v_path, p_root || '/') then 'repo'
    when v_top in ('tmp', 'var', 'private') and v_path like any (array['/tmp/_%', '/var/tmp/_%', '/private/tmp/_%', '/private/var/folders/_%', '/var/folders/_%']) then 'temp'
    when v_path in ('/tmp', '/var/tmp', '/private/tmp') then 'temp_root'
    when v_bare in (p_home, '/home', '/Users', '/root') then 'home'
    when starts_with(p_root, v_bare || '/') then 'above'
    when v_top in ('home', 'Users') and split_part(v_bare, '/', 4) = '' then 'home'
    when v_top in ('home', 'Users') then case when split_part(v_path, '/', 4) in
      ('Documents', 'Downloads', 'Desktop', 'Pictures', 'Music', 'Videos', 'Movies', 'Library', 'Public') then 'personal,outside' else 'outside' end
    when v_path like '/dev/_%' then case when v_path like any (array['/dev/tcp/%', '/dev/udp/%']) then 'network'
      when split_part(v_path, '/', 3) in ('null', 'stdin', 'stdout', 'stderr', 'tty', 'fd', 'zero', 'random', 'urandom', 'full', 'shm', 'ptmx', 'pts') then '' else 'device' end
    when v_top in ('etc', 'usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64', 'var', 'boot', 'opt', 'srv', 'sys', 'proc', 'run', 'root', 'dev', 'mnt', 'media', 'snap', 'tmp',
      'System', 'Library', 'Applications', 'private', 'Volumes', 'nix', 'cores') then 'system'
    else 'outside' end, ',');
  if strpos(v_path, '.') + strpos(v_path, '_') + strpos(v_path, 'secret') + strpos(v_path, 'etc/') + strpos(v_path, 'credential') + strpos(v_path, 'proc/') + strpos(v_path, 'token') + strpos(v_path, 'agents/') + strpos(v_path, 'Keychain') > 0 then
    v_found := v_found || coord.file_classes(v_path);
  end if;
  return v_found;
end
$$;
comment on function coord.path_classes is 'Where a path points: root, home, above (the repository), system, temp, repo_root, repo, personal, outside, device, network or unknown; and what it is.';

create function coord.file_classes(p_path text) returns text[]
language plpgsql immutable
as $$
declare
  v_path text := lower(p_path);
  v_name text := split_part(v_path, '/', -1);
  v_found text[] := array[]::text[];
begin
  if strpos(v_path, '/.git/') > 0 or v_name = '.git' then
    v_found := v_found || 'git'::text;
  end if;
  if v_name like '.env%' and v_name like any (array['.env', '.env.%', '.env?%', '.env*%', '.envrc']) and not v_name like any (array['%example', '%sample', '%template', '%.dist', '%default', '%defaults', '%schema', '%.md', '%.ts', '%.js', '%.py'])
    or v_path || '/' like any (array['%/.ssh/%', '%/.aws/%', '%/.gnupg/%', '%/.azure/%', '%/.password-store/%', '%/.kube/%', '%/.oci/%', '%/keychains/%', '%/gcloud/%credential%', '%/gcloud/%token%'])
      and v_name <> 'known_hosts' and v_name not like '%.pub'
    or v_name in ('.netrc', '_netrc', '.pgpass', '.my.cnf', '.pypirc', '.npmrc', '.yarnrc.yml', '.git-credentials', '.vault-token', '.htpasswd', '.dockercfg', '.boto', '.s3cfg', '.terraformrc', '.credentials.json', '.mylogin.cnf',
      'kubeconfig', 'master.key', 'login.keychain', 'login.keychain-db', 'logins.json', 'wallet.dat', 'key3.db', 'key4.db', 'credentials', 'credentials.json', 'credentials.yml', 'credentials.yaml', 'credentials.toml', 'credentials.csv', 'credentials.ini',
      'secrets.yml', 'secrets.yaml', 'secrets.json', 'secrets.toml', 'secrets.env', 'secret.yml', 'secret.yaml', 'secret.json', 'secret.toml', 'secrets.txt', 'secret.txt', 'credentials.tfrc.json', 'terraform.tfvars')
    or v_path like any (array['%/.docker/config.json', '%/gh/hosts.yml', '%/.codex/auth.json', '%/.gemini/oauth_creds.json', '/etc/shadow%', '/etc/gshadow%', '/etc/sudoers%', '/etc/master.passwd', '/proc/%/environ',
      '%/id_rsa', '%/id_dsa', '%/id_ecdsa', '%/id_ed25519', '%/id_ed25519_sk', '%/id_ecdsa_sk', '%\_rsa', '%.p12', '%.pfx', '%.jks', '%.keystore', '%.kdbx', '%.ppk', '%_.key', '%/service_account%.json', '%/service-account%.json', '%/serviceaccount%.json', '%key%.pem', '%priv%.pem']) then
    v_found := v_found || 'credential'::text;
  end if;
  if v_path like any (array['%/.claude/settings%.json', '%/.claude/hooks', '%/.claude/hooks/%', '%/.claude.json', '%/.codex/config.toml', '%/.codex/hooks%', '%/.codex/rules%', '%/.codex/requirements.toml', '%/.git/hooks', '%/.git/hooks/%', '%/.git/config',
    '%/.mcp.json', '%/.aider.conf.yml', '%/.pre-commit-config.yaml', '%/.husky/%', '%/.cursor/mcp.json', '%/.cursor/hooks%', '%/.gemini/settings.json', '%/agents/profiles.yaml', '%/agents/network_policies.yaml', '%/agents/guardrail_patterns.yaml', '%/.coord/%']) then
    v_found := v_found || 'control'::text;
  elsif v_name in ('claude.md', 'agents.md', 'gemini.md', '.cursorrules') then
    v_found := v_found || 'instructions'::text;
  elsif v_name in ('.bashrc', '.zshrc', '.profile', '.bash_profile', '.zshenv', '.zprofile', '.bash_login', '.bash_logout', '.gitconfig', 'authorized_keys', '.xinitrc')
    or v_path like any (array['/etc/cron%', '/etc/profile%', '/etc/ld.so%', '/etc/init%', '/etc/systemd%', '/etc/pam%', '/etc/hosts', '/etc/passwd', '%/launchagents/%', '%/launchdaemons/%', '%/autostart/%', '%/systemd/user/%', '%/spool/cron%']) then
    v_found := v_found || 'startup'::text;
  end if;
  return v_found;
end
$$;
comment on function coord.file_classes is 'What a file is by its name: git, credential, control (of agents), instructions, startup.';

-- Words --------------------------------------------------------------------------------

create function coord.shell_pieces(p_text text) returns text[]
language sql immutable
return array(select m[1] from regexp_matches(p_text,
  E'[^][:space:]\'"\\\\$`;&|<>(){}#]+|[ \t]+|\\r?\\n|\\\\\\r?\\n|\\\\.|\\$\\(\\(|\\$\\(|\\$\\{|\\$[\'"]|\\$[A-Za-z_][A-Za-z0-9_]*|\\$[0-9@*#?!$-]|;;|&&|\\|\\||\\|&|&>>?|>>|>\\||>&|<<<|<<-|<<|<&|<>|<\\(|>\\(|.', 'g') m);
comment on function coord.shell_pieces is 'A text in pieces that mean one thing each: runs of plain characters, blanks, quotes, operators, escapes.';

create function coord.quote_end(p_pieces text[], p_from integer) returns integer
language plpgsql immutable
as $$
begin
  for v_at in p_from .. cardinality(p_pieces) loop
    if p_pieces[v_at] = '''' or p_pieces[v_at] = '\''' then
      return v_at;
    end if;
  end loop;
  return null;
end
$$;
comment on function coord.quote_end is 'Where a single quote ends; a backslash before it means nothing.';

create function coord.shell_end(p_pieces text[], p_from integer, p_close text) returns integer
language plpgsql immutable
as $$
declare
  v_open text := p_close;
  v_close text;
  v_at integer := p_from;
  v_piece text;
begin
  while v_at <= cardinality(p_pieces) and length(v_open) < 24 loop
    v_piece := p_pieces[v_at];
    v_close := right(v_open, 1);
    if v_piece = v_close then
      v_open := left(v_open, -1);
      if v_open = '' then return v_at; end if;
    elsif v_piece = '"' or v_piece = '`' then
      v_open := v_open || v_piece;
    elsif v_piece = '$(' or v_piece = '$((' then
      v_open := v_open || left('))', length(v_piece) - 1);
    elsif v_piece = '${' then
      v_open := v_open || '}';
    elsif v_close = '"' then
      null;
    elsif v_piece = '''' then
      v_at := coord.quote_end(p_pieces, v_at + 1);
      exit when v_at is null;
    elsif v_piece = '$''' then
      v_at := v_at + 1;
      while v_at <= cardinality(p_pieces) and p_pieces[v_at] <> '''' loop
        v_at := v_at + 1;
      end loop;
    elsif v_piece in ('(', '<(', '>(') then
      v_open := v_open || ')';
    elsif v_piece = '#' and coord.only(p_pieces[v_at - 1], E' \t\r\n') and v_close = ')' then
      while v_at <= cardinality(p_pieces) and p_pieces[v_at] not in (E'\n', E'\r\n') loop
        v_at := v_at + 1;
      end loop;
    end if;
    v_at := v_at + 1;
  end loop;
  return null;
end
$$;
comment on function coord.shell_end is 'Where what was opened is closed by this, with all that is quoted and opened between; null if nowhere, or too deep.';

create function coord.unescaped(p_text text) returns text
language plpgsql immutable
as $$
declare
  v_parts text[];
  v_out text := '';
  v_part text;
begin
  if strpos(p_text, '\') = 0 then
    return p_text;
  end if;
  v_parts := array(select m[1] from regexp_matches(p_text, '[^\\]+|\\x[0-9A-Fa-f]{1,2}|\\0?[0-7]{1,3}|\\u[0-9A-Fa-f]{1,4}|\\U[0-9A-Fa-f]{1,8}|\\.|\\', 'g') m);
  foreach v_part in array v_parts loop
    v_out := v_out || case
      when left(v_part, 1) <> '\' or length(v_part) < 2 then v_part
      when substr(v_part, 2, 1) in ('x', 'u', 'U') and length(v_part) > 2
        then coalesce(chr(nullif(least(('x' || lpad(substr(v_part, 3), 8, '0'))::bit(32)::integer, 65533), 0)), '')
      when substr(v_part, 2, 1) between '0' and '7'
        then coalesce(chr(nullif((select sum(d::integer * (8 ^ (length(v_part) - 1 - n))::integer) from unnest(string_to_array(substr(v_part, 2), null)) with ordinality u (d, n)), 0)::integer & 255), '')
      when substr(v_part, 2, 1) = 'n' then E'\n'
      when substr(v_part, 2, 1) = 't' then E'\t'
      when substr(v_part, 2, 1) = 'r' then E'\r'
      when substr(v_part, 2, 1) in ('a', 'b', 'e', 'f', 'v', 'c') then ''
      else substr(v_part, 2) end;
  end loop;
  return v_out;
end
$$;
comment on function coord.unescaped is 'A text with what $''…'', echo -e and printf know after a backslash.';

create function coord.split_word(p_word text) returns text[]
language plpgsql immutable
as $$
declare
  v_words text[];
  v_out text[] := array[]::text[];
  v_word text;
  v_some text[];
begin
  foreach v_word in array string_to_array(p_word, E'\x05') loop
    v_some := array[v_word];
    while v_some[1] like E'%\x04%\x04%' and cardinality(v_some) <= 32 loop
      v_words := v_some;
      v_some := array(
        select split_part(w, E'\x04', 1) || a || substr(w, length(split_part(w, E'\x04', 1)) + length(split_part(w, E'\x04', 2)) + 3)
        from unnest(v_words) w, unnest(string_to_array(split_part(w, E'\x04', 2), E'\x03')) a limit 64);
    end loop;
    v_out := v_out || array(select w from unnest(v_some) w where w <> '');
  end loop;
  return v_out;
end
$$;
comment on function coord.split_word is 'The words that one word with alternatives and split values comes to.';

create function coord.only(p_text text, p_characters text) returns boolean
language sql immutable
return ltrim(p_text, p_characters) = '' and p_text <> '';
comment on function coord.only is 'Whether a text has these characters alone: a regex less.';

create function coord.is_name(p_text text) returns boolean
language sql immutable
return ltrim(lower(rtrim(split_part(p_text, '[', 1), '+') collate "C"), 'abcdefghijklmnopqrstuvwxyz0123456789_') = '' and left(p_text, 1) not between '0' and '9' and p_text <> '';
comment on function coord.is_name is 'Whether a text could be the name of a variable, as what stands before = in an assignment.';

create function coord.program_name(p_word text) returns text
language plpgsql immutable
as $$
declare
  v_name text := lower(split_part(p_word, '/', -1));
begin
  -- python3.12 is python.
  if right(v_name, 1) between '0' and '9' and rtrim(v_name, '0123456789.') in ('python', 'perl', 'ruby', 'node', 'php', 'lua', 'pip', 'bash') then
    return rtrim(v_name, '0123456789.');
  end if;
  return case when v_name like '%.exe' then left(v_name, -4) else v_name end;
end
$$;
comment on function coord.program_name is 'The name of a program, without directory and version.';

create function coord.noted(p_state coord.shell_state, p_problem text) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
begin
  if p_problem <> all (v_state.problems) and cardinality(v_state.problems) < 10 then
    v_state.problems := v_state.problems || p_problem;
  end if;
  return v_state;
end
$$;
comment on function coord.noted is 'The state with a problem more.';

create function coord.parameter(p_state coord.shell_state, p_text text) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_parts text[] := regexp_match(p_text, '^([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-])(?:\[[^]]*\])?(:?[-=+?]|[#%/^,@].*|:[^-=+?].*)?(.*)$');
  v_value text := v_state.vars ->> v_parts[1];
  v_known boolean := v_value is not null and (v_value <> '' or v_parts[2] not like ':%');
begin
  -- ${NAME}, ${NAME:-word}, ${NAME:=word}, ${NAME:+word}; what else there is changes a value in ways not followed here.
  if v_parts is null then
    v_state.output := case when p_text like '#%' then '1' else E'\x01' || translate(p_text, E'\x01\x02/', '') || E'\x02' end;
  elsif v_parts[2] is null or right(v_parts[2], 1) in ('-', '=', '+', '?') and length(v_parts[2]) <= 2 then
    if right(v_parts[2], 1) = '+' or not v_known and right(v_parts[2], 1) in ('-', '=') then
      v_state := coord.read_shell(v_state, v_parts[3], true);
      if right(v_parts[2], 1) = '=' then
        v_state.vars := v_state.vars || jsonb_build_object(v_parts[1], v_state.output);
      end if;
    else
      v_state.output := coalesce(v_value, E'\x01' || v_parts[1] || E'\x02');
    end if;
  else
    v_state.output := E'\x01' || v_parts[1] || E'\x02';
  end if;
  return v_state;
end
$$;
comment on function coord.parameter is 'What stands between ${ and }, as output.';

create function coord.here_document(p_rest text, p_word text, p_tabs boolean) returns text[]
language plpgsql immutable
as $$
declare
  v_line integer := strpos(p_rest, E'\n');
  v_body text := substr(p_rest, v_line + 1);
  v_end integer;
  v_after text;
begin
  if v_line = 0 then
    return array[p_rest, ''];
  end if;
  v_body := replace(v_body, E'\r\n', E'\n');
  if p_tabs then
    v_body := ltrim(replace(replace(replace(v_body, E'\n\t', E'\n'), E'\n\t', E'\n'), E'\n\t', E'\n'), E'\t');
  end if;
  v_end := strpos(E'\n' || v_body || E'\n', E'\n' || p_word || E'\n');
  v_after := case when v_end = 0 then '' else substr(v_body, v_end + length(p_word)) end;
  return array[left(p_rest, v_line - 1) || v_after, case when v_end = 0 then v_body else left(v_body, v_end - 1) end];
end
$$;
comment on function coord.here_document is 'What is left to read once the body of a here-document is taken out, and the body.';

-- Reading ------------------------------------------------------------------------------

create function coord.read_shell(p_state coord.shell_state, p_text text, p_quoted boolean) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_pieces text[];
  v_count integer;
  v_at integer := 0;
  v_end integer;
  v_piece text;
  v_quoted boolean := p_quoted;
  v_word text := case when p_quoted then '' end;
  v_literal boolean := false;
  v_words text[] := array[]::text[];
  v_redirect text;
  v_redirects text[] := array[]::text[];
  v_input text;
  v_sources text[] := array[]::text[];
  v_cwd text;
  v_doc text[];
  v_first integer := cardinality(p_state.commands);
  v_printed text := '';
  v_tags text[] := array[]::text[];
begin
  v_state.output := null;
  v_state.tags := '{}';
  if v_state.depth >= 16 then
    return coord.noted(v_state, 'nested too deep');
  elsif octet_length(p_text) > 131072 then
    return coord.noted(v_state, 'too long');
  elsif v_state.texts >= 500 or clock_timestamp() > v_state.deadline then
    return coord.noted(v_state, 'too much to read');
  end if;
  v_state.texts := v_state.texts + 1;
  v_state.depth := v_state.depth + 1;
  v_pieces := coord.shell_pieces(p_text);
  v_count := cardinality(v_pieces);
  if v_count > 20000 then
    v_state := coord.noted(v_state, 'too long');
    v_pieces := array[]::text[];
    v_count := 0;
  end if;
  loop
    v_at := v_at + 1;
    v_piece := v_pieces[v_at];
    exit when v_at > v_count and p_quoted;
    if v_at > v_count and v_quoted then
      v_state := coord.noted(v_state, 'a quote is not closed');
      v_quoted := false;
    end if;

    if v_at <= v_count and (strpos(E' \t\r\n''"\\$`;&|<>(){}#', left(v_piece, 1)) = 0 or v_piece = '#' and v_word is not null) then
      v_word := coalesce(v_word, '') || v_piece;
    elsif v_piece = '"' and not p_quoted then
      v_quoted := not v_quoted;
      v_word := coalesce(v_word, '');
      v_literal := true;
    elsif left(v_piece, 1) = '\' then
      if v_piece in (E'\\\n', E'\\\r\n') then
        null;
      elsif v_quoted and v_piece not in ('\$', '\`', '\"', '\\') then
        v_word := v_word || v_piece;
      else
        v_word := coalesce(v_word, '') || substr(v_piece, 2);
        v_literal := true;
      end if;

    elsif v_piece = '$(' or v_piece = '`' or v_piece = '<(' and not v_quoted or v_piece = '>(' and not v_quoted then
      -- A substitution: what it runs, and what it prints where that is known.
      v_end := coord.shell_end(v_pieces, v_at + 1, case v_piece when '`' then '`' else ')' end);
      if v_end is null then
        v_state := coord.noted(v_state, 'a substitution is not closed');
      end if;
      v_cwd := v_state.cwd;
      -- Of what is not closed a look at the beginning has to do.
      v_doc := array[case when v_end is null then left(array_to_string(v_pieces[v_at + 1 : v_at + 1000], ''), 2000) else array_to_string(v_pieces[v_at + 1 : v_end - 1], '') end];
      v_state := coord.read_shell(v_state, case v_piece when '`' then replace(replace(v_doc[1], '\`', '`'), '\$', '$') else v_doc[1] end, false);
      v_state.cwd := v_cwd;
      if left(v_piece, 1) in ('<', '>') then
        v_sources := v_sources || v_state.tags || 'process'::text;
        v_input := coalesce(v_state.output, v_input);
        v_word := coalesce(v_word, '') || E'\x01' || v_piece || E')\x02';
        if v_piece = '>(' and v_first < cardinality(v_state.commands) and v_state.commands[cardinality(v_state.commands)].names && array['@shell', '@language'] then
          v_redirects := v_redirects || array['>(', 'shell'];
        end if;
      elsif v_state.output is null then
        v_word := coalesce(v_word, '') || E'\x01$(' || translate(left(v_doc[1], 60), E'\x01\x02\x03\x04\x05/', '') || E')\x02';
        v_sources := v_sources || array(select 'word:' || t from unnest(v_state.tags) t where t not like 'word:%');
      elsif v_quoted then
        v_word := v_word || rtrim(v_state.output, E'\n');
      else
        v_word := coalesce(v_word, '') || translate(rtrim(v_state.output, E'\n'), E' \t\r\n', E'\x05\x05\x05\x05');
      end if;
      v_at := coalesce(v_end, v_count);
    elsif v_piece = '$((' then
      v_end := coord.shell_end(v_pieces, v_at + 1, '))');
      if v_end is null then
        v_state := coord.noted(v_state, 'a substitution is not closed');
      end if;
      v_state := coord.read_shell(v_state, array_to_string(v_pieces[v_at + 1 : coalesce(v_end - 2, v_count)], ''), true);
      v_word := coalesce(v_word, '') || '1';
      v_at := coalesce(v_end, v_count);
    elsif v_piece = '${' then
      v_end := coord.shell_end(v_pieces, v_at + 1, '}');
      if v_end is null then
        v_state := coord.noted(v_state, 'a substitution is not closed');
      end if;
      v_state := coord.parameter(v_state, array_to_string(v_pieces[v_at + 1 : coalesce(v_end - 1, v_count)], ''));
      v_word := coalesce(v_word, '') || case when v_quoted or strpos(v_state.output, E'\x01') > 0 then v_state.output else translate(v_state.output, E' \t\r\n', E'\x05\x05\x05\x05') end;
      v_at := coalesce(v_end, v_count);
    elsif v_piece = '$''' and not v_quoted then
      v_end := v_at + 1;
      while v_end <= v_count and v_pieces[v_end] <> '''' loop
        v_end := v_end + 1;
      end loop;
      if v_end > v_count then
        v_state := coord.noted(v_state, 'a quote is not closed');
      end if;
      v_word := coalesce(v_word, '') || coord.unescaped(array_to_string(v_pieces[v_at + 1 : v_end - 1], ''));
      v_literal := true;
      v_at := v_end;
    elsif v_piece = '$"' and not p_quoted then
      if v_quoted then
        v_word := v_word || '$';
      end if;
      v_quoted := not v_quoted;
      v_word := coalesce(v_word, '');
    elsif left(v_piece, 1) = '$' and length(v_piece) > 1 and v_piece not in ('$"', '$''') then
      v_doc := array[v_state.vars ->> substr(v_piece, 2)];
      v_word := coalesce(v_word, '') || case when v_doc[1] is null then E'\x01' || substr(v_piece, 2) || E'\x02'
        when v_quoted or strpos(v_doc[1], E'\x01') > 0 then v_doc[1] else translate(v_doc[1], E' \t\r\n', E'\x05\x05\x05\x05') end;
    elsif v_quoted and v_at <= v_count or left(v_piece, 1) = '$' then
      v_word := coalesce(v_word, '') || v_piece;
    elsif v_piece = '''' then
      v_end := coord.quote_end(v_pieces, v_at + 1);
      if v_end is null then
        v_state := coord.noted(v_state, 'a quote is not closed');
        v_end := v_count + 1;
      end if;
      -- Most quotes hold one piece; a slice of all would cost more than the rest.
      v_word := coalesce(v_word, '') || case when v_end = v_at + 2 then v_pieces[v_at + 1] else array_to_string(v_pieces[v_at + 1 : v_end - 1], '') end || case when v_pieces[v_end] = '\''' then '\' else '' end;
      v_literal := true;
      v_at := v_end;
    elsif v_piece = '{' and (v_word is not null or strpos(E' \t\r\n', left(v_pieces[v_at + 1], 1)) = 0) and coord.brace_list(v_pieces, v_at) is not null then
      v_end := v_at + 1;
      while v_pieces[v_end] <> '}' loop
        v_end := v_end + 1;
      end loop;
      v_word := coalesce(v_word, '') || coord.brace_list(v_pieces, v_at);
      v_at := v_end;
    elsif v_piece in ('{', '}') then
      v_word := coalesce(v_word, '') || v_piece;

    else
      -- A blank or an operator, and so the end of a word.
      if v_word is not null then
        if v_redirect in ('<<', '<<-') then
          v_doc := coord.here_document(array_to_string(v_pieces[v_at : v_count], ''), v_word, v_redirect = '<<-');
          v_pieces := coord.shell_pieces(v_doc[1]);
          v_count := cardinality(v_pieces);
          v_input := v_doc[2];
          if not v_literal then
            v_state := coord.read_shell(v_state, v_doc[2], true);
            v_input := v_state.output;
          end if;
          v_redirect := null;
          v_word := null;
          v_literal := false;
          v_at := 0;
          continue;
        elsif v_redirect = '<<<' then
          v_input := v_word || E'\n';
        elsif v_redirect is not null then
          v_redirects := v_redirects || array[v_redirect, v_word];
        elsif left(v_piece, 1) in ('<', '>') and (coord.only(v_word, '0123456789') or v_word like '{%}') then
          -- The descriptor before a redirection; 2>&1 and the like lead nowhere new.
          null;
        elsif strpos(v_word, E'\x04') + strpos(v_word, E'\x05') > 0 then
          v_words := v_words || coord.split_word(v_word);
        elsif v_word <> '' or v_literal then
          v_words := v_words || v_word;
        end if;
        v_redirect := null;
        v_word := null;
        v_literal := false;
        if cardinality(v_words) > 2000 then
          v_state := coord.noted(v_state, 'too many words');
          exit;
        end if;
      end if;
      if v_piece like any (array[' %', E'\t%']) then
        null;
      elsif v_piece = '#' then
        while v_at < v_count and v_pieces[v_at + 1] not in (E'\n', E'\r\n') loop
          v_at := v_at + 1;
        end loop;
      elsif v_piece = '(' and cardinality(v_words) = 0 then
        v_end := coord.shell_end(v_pieces, v_at + 1, ')');
        if v_end is null then
          v_state := coord.noted(v_state, 'a bracket is not closed');
        end if;
        v_cwd := v_state.cwd;
        v_state := coord.read_shell(v_state, case when v_end is null then left(array_to_string(v_pieces[v_at + 1 : v_at + 1000], ''), 2000) else array_to_string(v_pieces[v_at + 1 : v_end - 1], '') end, false);
        v_state.cwd := v_cwd;
        v_words := array['}'];
        v_at := coalesce(v_end, v_count);
      elsif v_piece = '(' and v_pieces[v_at + 1] = ')' and cardinality(v_words) between 1 and 2 then
        -- NAME ( ): a function.
        v_state.functions := v_state.functions || v_words[cardinality(v_words)];
        v_state.inside := v_words[cardinality(v_words)];
        v_words := '{}';
        v_at := v_at + 1;
      elsif v_piece = '(' and v_words[1] = 'for' and v_pieces[v_at + 1] = '(' then
        v_end := coalesce(coord.shell_end(v_pieces, v_at + 1, ')'), v_count);
        v_state.endless := v_state.endless or array_to_string(v_pieces[v_at + 1 : v_end], '') like '%;;%';
        v_words := '{}';
        v_at := v_end;
      elsif v_piece in ('>', '<', '>>', '>|', '>&', '<&', '<>', '&>', '&>>', '<<', '<<-', '<<<') then
        v_redirect := v_piece;
      else
        if cardinality(v_words) + cardinality(v_redirects) > 0 then
          v_state := coord.run_words(v_state, v_words, v_redirects, v_input, v_sources, coalesce(v_piece, '') = '&');
          if v_piece is distinct from '|' and v_piece is distinct from '|&' then
            v_printed := v_printed || v_state.output;
            v_tags := v_tags || v_state.tags;
          end if;
          v_words := '{}';
          v_redirects := '{}';
          if cardinality(v_state.commands) > 400 or clock_timestamp() > v_state.deadline then
            v_state := coord.noted(v_state, 'too much to read');
            exit;
          end if;
        end if;
        if v_piece in ('|', '|&') then
          v_sources := v_sources || v_state.tags || 'pipe'::text;
          v_input := v_state.output;
        else
          v_sources := '{}';
          v_input := null;
        end if;
      end if;
    end if;
    exit when v_at > v_count;
  end loop;
  v_state.output := case when p_quoted then v_word else v_printed end;
  v_state.tags := v_tags;
  v_state.depth := v_state.depth - 1;
  return v_state;
end
$$;
comment on function coord.read_shell is 'Reads code, and adds the commands that it runs to the state; or, quoted, a text with its expansions, which is the output then.';

create function coord.brace_list(p_pieces text[], p_at integer) returns text
language plpgsql immutable
as $$
declare
  v_text text := '';
begin
  for v_at in p_at + 1 .. least(p_at + 64, cardinality(p_pieces)) loop
    if p_pieces[v_at] = '}' then
      return case when strpos(v_text, ',') > 0 then E'\x04' || replace(v_text, ',', E'\x03') || E'\x04' end;
    elsif strpos(E' \t\n''"$`;&|<>(){', left(p_pieces[v_at], 1)) > 0 then
      return null;
    end if;
    v_text := v_text || p_pieces[v_at];
  end loop;
  return null;
end
$$;
comment on function coord.brace_list is 'A simple brace list as alternatives; null for anything else.';

-- Running ------------------------------------------------------------------------------

create function coord.after_options(p_words text[], p_letters text, p_names text[], p_skip integer) returns integer
language plpgsql immutable
as $$
declare
  v_at integer := 2;
  v_word text;
begin
  while v_at <= cardinality(p_words) loop
    v_word := p_words[v_at];
    if v_word = '--' then
      v_at := v_at + 1;
      exit;
    elsif v_word = '-' then
      v_at := v_at + 1;
    elsif v_word like '--%' then
      v_at := v_at + case when substr(v_word, 3) = any (p_names) then 2 else 1 end;
    elsif v_word like '-%' then
      -- A letter that takes a value takes the next word when it is the last one.
      v_at := v_at + case when p_letters <> '' and strpos(p_letters, right(v_word, 1)) > 0
        and ltrim(substr(v_word, 2, length(v_word) - 2), p_letters) = substr(v_word, 2, length(v_word) - 2) then 2 else 1 end;
    else
      exit;
    end if;
  end loop;
  return v_at + p_skip;
end
$$;
comment on function coord.after_options is 'Where a wrapper''s own words end, and the command begins.';

create function coord.read_code(p_state coord.shell_state, p_code text, p_sources text[], p_does text) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_cwd text := p_state.cwd;
  v_vars jsonb := p_state.vars;
begin
  if btrim(p_code) like E'\x01$(%\x02' and strpos(p_code, E'\x02') = length(rtrim(p_code)) then
    -- What a program prints: known to be bad by where it comes from, else nobody can say.
    return coord.add_command(v_state, array['(code)'], null, '{}', p_sources, array['dynamic_code', p_does]);
  end if;
  v_state := coord.read_shell(v_state, case when strpos(p_code, E'\x01') > 0 then regexp_replace(p_code, E'\x01[^\x02]*\x02', E'\x01_\x02', 'g') else p_code end, false);
  v_state.cwd := v_cwd;
  v_state.vars := v_vars;
  return v_state;
end
$$;
comment on function coord.read_code is 'Reads code that a command was given as text.';

create function coord.read_program(p_state coord.shell_state, p_code text, p_language text, p_sources text[]) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_lower text := lower(left(p_code, 20000));
  v_texts text[];
  v_text text;
  v_runs boolean;
  v_removes boolean;
  v_writes boolean;
  v_reads boolean;
  v_does text[] := array['program'];
begin
  v_runs := v_lower like any (array['%|%getline%', '%system%', '%popen%', '%subprocess%', '%exec%', '%spawn%', '%`%', '%\%x%', '%qx%', '%shell%', '%command%']);
  v_removes := v_lower like any (array['%rmtree%', '%rm\_r%', '%remove%', '%unlink%', '%rmsync%', '%rmdir%', '%.rm(%', '%delete%', '%truncate%']);
  v_writes := v_lower like any (array['%write%', '%append%', '%''w''%', '%"w"%', '%''wb''%', '%"wb"%', '%''a''%', '%"a"%', '%copy%', '%rename%', '%move%', '%print >%', '%put\_contents%', '%> "%']);
  v_reads := v_lower like any (array['%open%', '%read%', '%getline%', '%slurp%', '%fetch%', '%load%', '%cat %', '%file%']);
  if v_lower like any (array['%urlopen%', '%requests.%', '%urllib%', '%http:/%', '%https:/%', '%fetch%', '%lwp%', '%net::http%', '%get\_contents%', '%axios%', '%socket%']) then
    v_does := v_does || 'network'::text;
    if v_lower like any (array['%exec(%', '%eval(%', '%eval %', '%exec %', '%system%', '%popen%', '%loads(%', '%subprocess%', '%spawn%', '%execsync%']) then
      v_does := v_does || 'run_download'::text;
    end if;
    if v_lower like '%socket%' and v_lower like any (array['%dup2%', '%/bin/%sh%', '%pty.%', '%exec%']) then
      v_does := v_does || 'reverse_shell'::text;
    end if;
  end if;
  if v_runs and v_lower like any (array['%b64decode%', '%base64%', '%unhexlify%', '%fromhex%', '%decode64%', '%unpack%']) then
    v_does := v_does || 'run_decoded'::text;
  end if;
  v_texts := array(
    select coalesce(m[1], m[2], m[3])
    from regexp_matches(left(p_code, 20000), '"((?:[^"\\]|\\.)*)"|''((?:[^''\\]|\\.)*)''|`([^`]*)`', 'g') m limit 100);
  v_state := coord.add_command(v_state, array[p_language, '(code)'], null, '{}', p_sources, v_does);
  if p_language = 'osascript' or v_runs then
    -- Each text alone, and all of a list together: os.system("rm x"), run(["rm", "x"]).
    foreach v_text in array v_texts || case when cardinality(v_texts) > 1 then array_to_string(v_texts, ' ') end loop
      if strpos(v_text, ' ') > 0 and v_state.depth < 12 then
        v_state := coord.read_loosely(v_state, v_text);
      end if;
      if 'run_decoded' = any (v_does) and length(v_text) >= 8 and coord.decoded(v_text) is not null then
        v_state := coord.read_loosely(v_state, coord.decoded(v_text));
      end if;
    end loop;
  end if;
  foreach v_text in array v_texts loop
    if strpos(v_text, 'base64') = 0 and length(v_text) >= 8 and v_lower like '%base64%' and coord.decoded(v_text) is not null then
      v_text := coord.decoded(v_text);
    end if;
    continue when v_text = '' or strpos(v_text, ' ') > 0 or strpos(v_text, E'\n') > 0 or length(v_text) > 500;
    if v_removes and strpos(v_text, '/') + strpos(v_text, '.') + strpos(v_text, '~') > 0 then
      v_state := coord.add_command(v_state, array['rm', '-r', '-f', v_text], null, '{}', '{}', array['program']);
    end if;
    if v_writes then
      v_state := coord.add_command(v_state, array['tee', v_text], null, '{}', '{}', array['program']);
    elsif v_reads then
      v_state := coord.add_command(v_state, array['cat', v_text], null, '{}', '{}', array['program']);
    end if;
  end loop;
  v_state.output := null;
  return v_state;
end
$$;
comment on function coord.read_program is 'Looks at the code of an interpreter: what it runs in a shell, removes, reads and writes by literal texts.';

create function coord.read_loosely(p_state coord.shell_state, p_code text) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := coord.read_code(p_state, coord.unescaped(p_code), '{}', null);
begin
  -- Texts of a program are not all commands: what cannot be read of them is no problem.
  v_state.problems := p_state.problems;
  return v_state;
end
$$;
comment on function coord.read_loosely is 'Reads a text that may be a command.';

create function coord.decoded(p_text text) returns text
language plpgsql immutable
as $$
declare
  v_text text := regexp_replace(p_text, '\s', '', 'g');
  v_bytes bytea;
begin
  if length(v_text) between 4 and 20000 and v_text !~ '[^A-Za-z0-9+/=]' then
    v_text := rtrim(v_text, '=');
    if length(v_text) % 4 <> 1 then
      v_bytes := decode(v_text || left('==', (4 - length(v_text) % 4) % 4), 'base64');
      -- As ASCII, or not at all: half a character is no text.
      return case when position('\x00'::bytea in v_bytes) = 0 and encode(v_bytes, 'escape') !~ '\\[0-9]{3}' then convert_from(v_bytes, 'UTF8') end;
    end if;
  end if;
  return null;
exception when invalid_parameter_value or character_not_in_repertoire then
  return null;
end
$$;
comment on function coord.decoded is 'What a text in base64 says; null if it is none, or says no text.';

create function coord.printed(p_program text, p_words text[], p_input text) returns text
language plpgsql immutable
as $$
declare
  v_words text[] := p_words[2:];
  v_text text;
begin
  if p_program = 'echo' then
    while v_words[1] in ('-n', '-e', '-E', '-ne', '-en') loop
      v_words := v_words[2:];
    end loop;
    v_text := array_to_string(v_words, ' ') || E'\n';
    return case when strpos(array_to_string(p_words, ' '), ' -e') + strpos(array_to_string(p_words, ' '), ' -ne') > 0 then coord.unescaped(v_text) else v_text end;
  elsif p_program = 'printf' then
    v_text := coord.unescaped(v_words[1]);
    if v_text ~ '^(%[sbq](\n|\s)*)+$' then
      return coord.unescaped(array_to_string(v_words[2:], case when v_text like E'%\n' then E'\n' when v_text like '% %' then ' ' else '' end))
        || case when v_text like E'%\n' then E'\n' else '' end;
    end if;
    foreach v_text in array v_words[2:] loop
      v_words[1] := regexp_replace(v_words[1], '%[sbd]', replace(v_text, '\', '\\'));
    end loop;
    return coord.unescaped(v_words[1]);
  elsif p_program in ('cat', 'tee', 'sort', 'uniq') and (cardinality(v_words) = 0 or v_words[1] = '-' or p_program = 'tee') then
    return p_input;
  elsif p_program = 'base64' and p_words && array['-d', '-D', '--decode', '-di', '--d'] then
    return coord.decoded(p_input);
  elsif p_program = 'xxd' and p_input is not null and array_to_string(v_words, ' ') ~ '-.*r' then
    v_text := regexp_replace(p_input, '[^0-9A-Fa-f]', '', 'g');
    return case when length(v_text) % 2 = 0 and v_text !~ '^(..)*(0[0-8]|[89a-fA-F])' then convert_from(decode(v_text, 'hex'), 'UTF8') end;
  elsif p_program = 'rev' and p_input is not null then
    return reverse(rtrim(p_input, E'\n')) || E'\n';
  elsif p_program in ('which', 'realpath', 'readlink', 'basename') and cardinality(v_words) > 0 then
    return v_words[cardinality(v_words)] || E'\n';
  elsif p_program = 'command' and v_words[1] in ('-v', '-V') then
    return v_words[2] || E'\n';
  elsif p_program in ('cd', 'export', 'declare', 'local', 'readonly', 'typeset', 'unset', 'set', 'true', ':', 'mkdir', 'read', 'touch', 'shopt', 'test', '[', '[[', 'sleep', 'wait') then
    return '';
  end if;
  return null;
end
$$;
comment on function coord.printed is 'What a command prints, where its words and its input say so; null if nobody knows.';

create function coord.run_words(
  p_state coord.shell_state, p_words text[], p_redirects text[], p_input text, p_sources text[], p_background boolean
) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_words text[] := p_words;
  v_input text := p_input;
  v_sources text[] := p_sources;
  v_does text[] := array[]::text[];
  v_vars jsonb := p_state.vars;
  v_known coord.shell_programs;
  v_program text;
  v_at integer;
  v_word text;
  v_rest text[];
begin
  v_state.output := '';
  v_state.tags := '{}';
  while v_words[1] in ('if', 'then', 'elif', 'else', 'while', 'until', 'do', '!', '{', 'coproc', 'function', 'case', 'for', 'select', 'done', 'fi', 'esac', '}') loop
    if v_words[1] in ('while', 'until') and (v_words[2] in ('true', ':', 'false', '1') or v_words[2:4] in (array['[', '1', ']'], array['[', 'true', ']'])) then
      v_state.endless := true;
    elsif v_words[1] = 'function' then
      v_state.functions := v_state.functions || v_words[2];
      v_state.inside := v_words[2];
      v_words := v_words[2:];
    elsif v_words[1] in ('for', 'select') then
      v_rest := v_words[4:];
      v_state.vars := v_state.vars - v_words[2];
      if v_words[3] = 'in' and cardinality(v_rest) between 1 and 16 then
        v_state.vars := v_state.vars || jsonb_build_object(v_words[2],
          case when cardinality(v_rest) = 1 then v_rest[1] else E'\x04' || array_to_string(v_rest, E'\x03') || E'\x04' end);
      end if;
      return v_state;
    elsif v_words[1] = 'case' then
      return v_state;
    elsif v_words[1] in ('done', 'fi', 'esac', '}') then
      v_state.output := p_state.output;
      v_state.tags := p_state.tags;
      v_state.inside := case when v_words[1] <> '}' then v_state.inside end;
      if v_words[1] = 'done' then
        v_state.endless := false;
      end if;
    end if;
    v_words := v_words[2:];
  end loop;

  -- Assignments, alone or for one command.
  while strpos(v_words[1], '=') > 0 and (coord.is_name(split_part(v_words[1], '=', 1)) or cardinality(v_words) > 1 and strpos(split_part(v_words[1], '=', 1), '/') = 0) loop
    v_word := rtrim(split_part(split_part(v_words[1], '=', 1), '[', 1), '+');
    v_state.vars := v_state.vars || jsonb_build_object(v_word, case when split_part(v_words[1], '=', 1) like '%+' then coalesce(v_vars ->> v_word, '') else '' end
      || substr(v_words[1], strpos(v_words[1], '=') + 1));
    v_does := v_does || ('env:' || v_word);
    v_words := v_words[2:];
  end loop;
  if cardinality(v_words) = 0 then
    if cardinality(p_redirects) > 0 then
      v_state := coord.add_command(v_state, array[':'], null, p_redirects, v_sources || v_state.tags, v_does);
      v_state.output := p_state.output;
    elsif cardinality(v_does) > 0 then
      v_state := coord.add_command(v_state, array['(set)'], null, '{}', array(select substr(s, 6) from unnest(v_sources) s where s like 'word:%'), v_does);
      v_state.output := '';
    end if;
    return v_state;
  end if;

  for v_turn in 1 .. 12 loop
    v_program := coord.program_name(v_words[1]);
    v_known := null;
    select * into v_known from coord.shell_programs p where p.name = v_program;
    exit when v_known.kind is distinct from 'wrapper';
    v_at := coord.after_options(v_words, v_known.letters, v_known.names, v_known.skip);
    v_rest := v_words[v_at:];
    if v_program = 'command' and v_at > 2 and v_words[2] in ('-v', '-V') then
      exit;
    elsif v_program = 'env' and array_to_string(v_words[2:v_at - 1], ' ') ~ '(^| )(-[a-z]*S|--split-string)' then
      v_word := regexp_replace(array_to_string(v_words[2:], ' '), '^.*?(-[a-z]*S|--split-string)[ =]?', '');
      return coord.read_code(v_state, v_word, v_sources, 'via:env');
    elsif v_program in ('flock', 'runuser') and (v_rest[1] = '-c' or v_program = 'runuser' and '-c' = any (v_words)) then
      return coord.read_code(v_state, v_words[cardinality(v_words)], v_sources, 'via:' || v_program);
    elsif v_program = 'xargs' and cardinality(v_rest) > 0 then
      v_word := coalesce(substring(array_to_string(v_words[2:v_at - 1], ' ') from '(?:-I ?|--replace=|-i(?=[^ ]))([^ ]+)'),
        case when v_words[2:v_at - 1] && array['-i', '--replace', '--replace='] then '{}' end);
      v_input := coalesce(nullif(btrim(left(v_input, 2000), E' \t\n'), ''), E'\x01stdin\x02');
      if v_word is null then
        v_rest := v_rest || case when v_program = 'xargs' and v_input like E'\x01%' then array[v_input] else regexp_split_to_array(v_input, '\s+') end;
      else
        v_rest := array(select replace(w, v_word, v_input) from unnest(v_rest) w) || case when strpos(array_to_string(v_rest, ' '), v_word) = 0 then array[v_input] else '{}' end;
      end if;
      v_sources := array(select 'word:' || s from unnest(v_sources) s where s not like 'word:%');
      v_input := null;
    elsif v_program = 'env' and v_words && array['-C', '--chdir'] then
      v_state.cwd := E'\x01chdir\x02';
    end if;
    while strpos(v_rest[1], '=') > 1 and v_program in ('env', 'sudo', 'doas') loop
      v_state.vars := v_state.vars || jsonb_build_object(split_part(v_rest[1], '=', 1), substr(v_rest[1], strpos(v_rest[1], '=') + 1));
      v_does := v_does || ('env:' || split_part(v_rest[1], '=', 1));
      v_rest := v_rest[2:];
    end loop;
    exit when cardinality(v_rest) = 0;
    v_does := v_does || ('via:' || v_program);
    v_words := v_rest;
  end loop;
  if strpos(v_program, E'\x01') > 0 then
    v_state := coord.noted(v_state, format('the program is not known: %s', coord.shown(v_words[1])));
  end if;
  if v_state.inside is not null and cardinality(v_state.calls) < 100 then
    v_state.calls := v_state.calls || (v_state.inside || ' ' || v_program) || case when p_background or 'pipe' = any (p_sources) then array['& ' || v_program] else '{}' end;
  end if;
  if p_background and v_state.endless then
    v_does := v_does || 'endless'::text;
  end if;
  -- What a client of a database is fed is its last operand.
  if v_input is not null and v_program in ('psql', 'mysql', 'mariadb', 'sqlite3', 'mongosh', 'mongo', 'redis-cli', 'clickhouse-client', 'sqlcmd', 'cockroach') then
    v_words := v_words || v_input;
  end if;

  -- Code, wherever it hides.
  if v_known.kind = 'shell' then
    v_state := coord.run_shell(v_state, v_program, v_words, p_redirects, v_input, v_sources, v_does);
  elsif v_known.kind = 'language' then
    v_state := coord.run_language(v_state, v_known, v_program, v_words, p_redirects, v_input, v_sources, v_does);
  elsif v_known.kind = 'find' then
    v_state := coord.run_find(v_state, v_program, v_words, v_sources, v_does);
  elsif v_known.kind = 'code' then
    v_state := coord.run_code(v_state, v_known, v_program, v_words, p_redirects, v_input, v_sources, v_does);
  else
    if v_program in ('export', 'declare', 'local', 'readonly', 'typeset') then
      foreach v_word in array v_words[2:] loop
        if strpos(v_word, '=') > 1 and v_word not like '-%' then
          v_state.vars := v_state.vars || jsonb_build_object(split_part(v_word, '=', 1), substr(v_word, strpos(v_word, '=') + 1));
          v_does := v_does || ('env:' || split_part(v_word, '=', 1));
        end if;
      end loop;
    elsif v_program = 'unset' then
      v_state.vars := v_state.vars - v_words[2:];
    elsif v_program = 'read' and v_input is not null and cardinality(v_words) > 1 then
      v_state.vars := v_state.vars || jsonb_build_object(v_words[cardinality(v_words)], rtrim(v_input, E'\n'));
    elsif v_program in ('cd', 'pushd', 'chdir') then
      v_word := coalesce((select w from unnest(v_words[2:]) w where w not like '-_%' limit 1), '~');
      v_state.cwd := case when v_word = '-' then E'\x01cd\x02' else coord.plain_path(v_word, v_state.cwd, v_state.home) end;
      v_state.vars := v_state.vars || jsonb_build_object('PWD', v_state.cwd);
    end if;
    v_state := coord.add_command(v_state, v_words, v_known, p_redirects, v_sources || case when v_input is not null then array['literal'] else '{}' end, v_does);
    v_state.output := case when strpos(array_to_string(v_words, ' '), E'\x01') = 0 or v_program = any (array['cd', 'export', 'read']) then
      case when v_program = 'pwd' then v_state.cwd else coord.printed(v_program, v_words, v_input) end end;
    if v_state.output <> '' and cardinality(p_redirects) > 0 then
      -- A file that is written here may be run here.
      v_state.files := v_state.files || coalesce((
        select jsonb_object_agg(coord.plain_path(p_redirects[n + 1], v_state.cwd, v_state.home),
          case when p_redirects[n] = '>>' then coalesce(v_state.files ->> coord.plain_path(p_redirects[n + 1], v_state.cwd, v_state.home), '') else '' end || v_state.output)
        from generate_series(1, cardinality(p_redirects), 2) n where p_redirects[n] in ('>', '>>', '>|')), '{}');
      v_state.output := '';
    elsif v_program = 'tee' and v_state.output is not null and cardinality(v_words) > 1 then
      v_state.files := v_state.files || jsonb_build_object(coord.plain_path(v_words[cardinality(v_words)], v_state.cwd, v_state.home), v_state.output);
    elsif v_program = 'alias' then
      foreach v_word in array v_words[2:] loop
        v_state := coord.read_code(v_state, substr(v_word, strpos(v_word || '=', '=') + 1), '{}', 'via:alias');
      end loop;
    elsif v_program in ('at', 'batch') and v_input is not null then
      v_state := coord.read_code(v_state, v_input, '{}', 'via:at');
    elsif v_program in ('vim', 'vi', 'nvim', 'ex') then
      foreach v_word in array v_words[2:] loop
        if ltrim(v_word, '+:') like '!%' then
          v_state := coord.read_code(v_state, substr(ltrim(v_word, '+:'), 2), '{}', 'via:vim');
        end if;
      end loop;
    elsif v_state.files <> '{}' and strpos(v_words[1], '/') > 0 and v_state.files ? coord.plain_path(v_words[1], v_state.cwd, v_state.home) then
      v_state := coord.read_code(v_state, v_state.files ->> coord.plain_path(v_words[1], v_state.cwd, v_state.home), '{}', 'shell_code');
    end if;
  end if;
  if v_program not in ('export', 'declare', 'local', 'readonly', 'typeset', 'unset', 'read', 'cd', 'pushd', 'eval', 'source', '.') then
    v_state.vars := v_vars;
  elsif cardinality(p_redirects) > 0 and v_known.kind = 'code' then
    v_state := coord.add_command(v_state, array[':'], null, p_redirects, v_sources, '{}');
  end if;
  return v_state;
end
$$;
comment on function coord.run_words is 'Runs a simple command, as far as a reader can: assignments, wrappers, code, and the command itself.';

create function coord.run_shell(
  p_state coord.shell_state, p_program text, p_words text[], p_redirects text[], p_input text, p_sources text[], p_does text[]
) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_at integer := 2;
  v_code boolean := false;
  v_stdin boolean := false;
  v_word text;
  v_from integer := cardinality(p_state.commands);
begin
  while v_at <= cardinality(p_words) and (p_words[v_at] like '-_%' or p_words[v_at] like '+_%') loop
    v_word := p_words[v_at];
    v_code := v_code or case when p_program in ('pwsh', 'powershell') then lower(v_word) in ('-c', '-command', '-commandwithargs') else v_word not like '--%' and v_word like '-%c%' or v_word = '--command' end;
    v_stdin := v_stdin or v_word not like '--%' and v_word like '-%s%' and not v_code;
    v_at := v_at + case when v_word not like '--%' and right(v_word, 1) in ('o', 'O') or v_word in ('--rcfile', '--init-file') then 2 else 1 end;
    exit when v_word = '--';
  end loop;
  while p_words[v_at] = '--' and v_code loop
    v_at := v_at + 1;
  end loop;
  v_word := p_words[v_at];
  if v_code and v_word is not null and v_word <> '-' then
    v_state.vars := v_state.vars || jsonb_build_object('0', coalesce(p_words[v_at + 1], 'sh'), '1', coalesce(p_words[v_at + 2], ''), '2', coalesce(p_words[v_at + 3], ''),
      '@', array_to_string(p_words[v_at + 2:], ' '), '*', array_to_string(p_words[v_at + 2:], ' '));
    v_state := coord.read_code(v_state, v_word, p_sources, 'shell_code');
    if v_from = cardinality(v_state.commands) or p_program in ('pwsh', 'powershell') then
      v_state := coord.add_command(v_state, array[p_program, '-c', coalesce(v_word, '')], null, p_redirects, p_sources, p_does);
    end if;
    return v_state;
  end if;
  v_stdin := v_stdin or v_word is null or v_word in ('-', '/dev/stdin') or v_word like '/dev/fd/%' or v_word like '/proc/%/fd/%' or v_word like E'\x01<(%';
  v_state := coord.add_command(v_state, p_words, (select p from coord.shell_programs p where p.name = p_program), p_redirects,
    p_sources || case when v_stdin and p_input is not null then array['literal'] else '{}' end, p_does || case when v_stdin then array['runs_input'] else '{}' end);
  if v_stdin and p_input is not null then
    v_state := coord.read_code(v_state, p_input, p_sources, 'shell_code');
  elsif v_word is not null and v_state.files ? coord.plain_path(v_word, v_state.cwd, v_state.home) then
    v_state := coord.read_code(v_state, v_state.files ->> coord.plain_path(v_word, v_state.cwd, v_state.home), '{}', 'shell_code');
  end if;
  return v_state;
end
$$;
comment on function coord.run_shell is 'A shell: its -c, what is fed into it, or its script.';

create function coord.run_code(
  p_state coord.shell_state, p_known coord.shell_programs, p_program text, p_words text[], p_redirects text[], p_input text, p_sources text[], p_does text[]
) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_at integer := coord.after_options(p_words, p_known.letters, p_known.names, p_known.skip);
  v_code text := array_to_string(p_words[v_at:], ' ');
  v_word text;
begin
  v_state := coord.add_command(v_state, p_words, p_known, p_redirects, p_sources, p_does);
  v_state.output := null;
  if p_program = 'ssh' then
    foreach v_word in array p_words loop
      if v_word ~* 'ProxyCommand=|LocalCommand=' then
        v_state := coord.read_code(v_state, substr(v_word, strpos(v_word, '=') + 1), '{}', 'via:ssh');
      end if;
    end loop;
    -- Over there nobody knows where one is.
    v_state.cwd := E'\x01ssh\x02';
  elsif p_program in ('su', 'script') then
    v_at := coalesce(array_position(p_words, '-c'), array_position(p_words, '--command'), cardinality(p_words));
    v_code := coalesce(p_words[v_at + 1], '');
  elsif p_program in ('tmux', 'screen', 'start-stop-daemon', 'nodemon') then
    v_code := coalesce((select string_agg(w, ' ; ') from unnest(p_words[2:]) w where strpos(w, ' ') > 0), '');
  elsif p_program = 'trap' then
    v_code := coalesce(p_words[case when p_words[2] = '--' then 3 else 2 end], '');
  elsif p_program = 'parallel' then
    v_at := coalesce(array_position(p_words, ':::'), array_position(p_words, '::::'), cardinality(p_words) + 1);
    v_code := array_to_string(p_words[coord.after_options(p_words, p_known.letters, p_known.names, 0) : v_at - 1], ' ');
    v_word := coalesce(nullif(array_to_string(p_words[v_at + 1:], ' '), ''), rtrim(p_input, E'\n'), E'\x01stdin\x02');
    v_code := case when v_code = '' then v_word when strpos(v_code, '{}') > 0 then replace(v_code, '{}', v_word) else v_code || ' ' || v_word end;
    -- A word with blanks was one word; it is quoted again.
    if exists (select from unnest(p_words[2 : v_at - 1]) w where w ~ '\s') then
      v_code := (select string_agg(case when w ~ '\s' then '''' || replace(w, '''', '''\''''') || '''' else w end, ' ' order by n)
        from unnest(p_words[coord.after_options(p_words, p_known.letters, p_known.names, 0) : v_at - 1]) with ordinality u (w, n)) || ' ' || v_word;
    end if;
  end if;
  if btrim(v_code) <> '' then
    if p_program = 'eval' then
      v_state := coord.read_shell_here(v_state, v_code, p_sources);
    else
      v_state := coord.read_code(v_state, v_code, p_sources, 'via:' || p_program);
    end if;
  end if;
  if p_program = 'ssh' then
    v_state.cwd := p_state.cwd;
  end if;
  return v_state;
end
$$;
comment on function coord.run_code is 'A program that runs what it is told as shell code: eval, ssh, watch, su, parallel, trap, tmux.';

create function coord.read_shell_here(p_state coord.shell_state, p_code text, p_sources text[]) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := coord.read_code(p_state, p_code, p_sources, 'shell_code');
  v_match text[];
begin
  -- eval "x=1" changes the shell it is in.
  v_match := regexp_match(p_code, '^\s*([A-Za-z_][A-Za-z0-9_]*)=(\S*)\s*$');
  if v_match is not null then
    v_state.vars := v_state.vars || jsonb_build_object(v_match[1], v_match[2]);
  end if;
  return v_state;
end
$$;
comment on function coord.read_shell_here is 'Reads code in the shell that runs it.';

create function coord.run_language(
  p_state coord.shell_state, p_known coord.shell_programs, p_program text, p_words text[], p_redirects text[], p_input text, p_sources text[], p_does text[]
) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_awk boolean := p_program in ('awk', 'gawk', 'mawk', 'nawk');
  v_eval text := case when p_program in ('php') then 'r' when p_program = 'python' then 'c' else 'e' end;
  v_at integer := 2;
  v_word text;
  v_code text;
  v_input boolean;
begin
  while v_at <= cardinality(p_words) loop
    v_word := p_words[v_at];
    exit when v_word not like '-_%';
    if v_word = '--' then
      v_at := v_at + 1;
      exit;
    elsif not v_awk and (v_word ~ ('^-[a-zA-Z0-9]*' || v_eval || '$') or v_word in ('--eval', '--print', '--run', '-p', '-E', '-pe', '-r') and p_program <> 'python' or v_word = 'eval') then
      v_code := concat_ws(E'\n', v_code, p_words[v_at + 1]);
      v_at := v_at + 1;
    elsif not v_awk and v_word like '--eval=%' then
      v_code := concat_ws(E'\n', v_code, substr(v_word, 8));
    elsif not v_awk and length(v_word) > 2 and left(v_word, 2) = '-' || v_eval and v_word !~ '^-[a-z]+$' then
      v_code := concat_ws(E'\n', v_code, substr(v_word, 3));
    elsif strpos(p_known.letters, right(v_word, 1)) > 0 and length(v_word) = 2 then
      v_at := v_at + 1;
    end if;
    v_at := v_at + 1;
  end loop;
  if v_awk then
    v_code := p_words[v_at];
    v_at := v_at + 1;
  elsif p_program = 'deno' and p_words[2] = 'eval' then
    v_code := p_words[3];
  end if;
  v_word := p_words[v_at];
  v_input := v_code is null and (v_word is null or v_word = '-' or v_word like E'\x01<(%') and not p_words && array['-m', '-V', '--version', '-v'];
  v_state := coord.add_command(v_state, case when v_code is null then p_words else array[p_program] || p_words[v_at:] end, null, p_redirects,
    p_sources || case when v_input and p_input is not null then array['literal'] else '{}' end, p_does || case when v_input then array['runs_input'] else '{}' end);
  if v_code is not null then
    v_state := coord.read_program(v_state, v_code, p_program, p_sources);
  elsif p_input is not null and v_input then
    v_state := coord.read_program(v_state, p_input, p_program, p_sources);
  end if;
  v_state.output := null;
  return v_state;
end
$$;
comment on function coord.run_language is 'An interpreter: the code it is given, or what is fed into it.';

create function coord.run_find(p_state coord.shell_state, p_program text, p_words text[], p_sources text[], p_does text[]) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_paths text[] := array[]::text[];
  v_name text;
  v_at integer := 2;
  v_word text;
  v_rest text[];
  v_flags text[] := array['find'];
  v_last integer;
begin
  while v_at <= cardinality(p_words) loop
    v_word := p_words[v_at];
    if v_word in ('-exec', '-execdir', '-ok', '-okdir', '-x', '-X', '--exec', '--exec-batch') then
      v_rest := '{}';
      v_at := v_at + 1;
      while v_at <= cardinality(p_words) and p_words[v_at] not in (';', '+') loop
        v_rest := v_rest || p_words[v_at];
        v_at := v_at + 1;
      end loop;
      v_word := coalesce(v_paths[1], '.') || '/' || coalesce(v_name, '{}');
      -- fd appends it.
      if p_program like 'fd%' and '{}' <> all (v_rest) then
        v_rest := v_rest || '{}'::text;
      end if;
      v_rest := array(select replace(w, '{}', v_word) from unnest(v_rest) w);
      v_last := cardinality(v_state.commands);
      v_state := coord.run_words(v_state, v_rest, '{}', null, '{}', false);
      for v_index in v_last + 1 .. cardinality(v_state.commands) loop
        v_state.commands[v_index].does := v_state.commands[v_index].does || 'via:find'::text;
      end loop;
    elsif v_word in ('-name', '-iname', '-path', '-ipath', '-wholename') then
      v_name := coalesce(v_name, p_words[v_at + 1]);
      v_at := v_at + 1;
    elsif v_word in ('-type', '-user', '-group', '-perm', '-size', '-newer', '-mtime', '-mmin', '-atime', '-ctime', '-cmin', '-amin', '-maxdepth', '-mindepth', '-inum', '-gid', '-uid', '-regex', '-iregex',
      '-printf', '-fprint', '-fprintf', '-links', '-fstype', '-samefile', '-lname', '-ilname', '-regextype', '-anewer', '-cnewer', '-newermt', '-used', '-context', '-fls', '-fprint0') then
      if v_word in ('-fprint', '-fprintf', '-fls', '-fprint0') then
        v_state := coord.add_command(v_state, array['tee', p_words[v_at + 1]], null, '{}', '{}', '{}');
      end if;
      v_at := v_at + 1;
    elsif v_word like '-_%' or v_word in ('(', ')', '!') then
      v_flags := v_flags || ltrim(v_word, '-');
    elsif cardinality(v_flags) = 1 and v_name is null or p_program like 'fd%' then
      v_paths := v_paths || v_word;
    end if;
    v_at := v_at + 1;
  end loop;
  if cardinality(v_paths) = 0 then
    v_paths := array['.'];
  end if;
  v_state := coord.add_command(v_state, array[p_program] || v_paths, null, '{}', p_sources, p_does || case when v_name is not null then array['by_name'] else '{}' end);
  v_last := cardinality(v_state.commands);
  v_state.commands[v_last].flags := v_flags;
  v_state.commands[v_last].line := left(coord.shown(array_to_string(p_words, ' ')), 500);
  v_state.output := null;
  return v_state;
end
$$;
comment on function coord.run_find is 'find: where it looks, what it does there, and what it runs.';

create function coord.shown(p_text text) returns text
language sql immutable
return case when strpos(p_text, E'\x01') + strpos(p_text, E'\x03') + strpos(p_text, E'\x04') + strpos(p_text, E'\x05') > 0
  then translate(replace(replace(replace(p_text, E'\x01$', '$'), E'\x01<', '<'), E'\x01>', '>'), E'\x03\x05\x01\x02\x04', ', $') else p_text end;
comment on function coord.shown is 'Words as somebody may read them.';

-- Facts --------------------------------------------------------------------------------

create function coord.sql_kinds(p_text text) returns text[]
language plpgsql immutable
as $$
declare
  v_text text;
  v_part text;
  v_found text[] := array[]::text[];
begin
  v_text := lower(left(p_text, 20000));
  -- Most statements have none of these words.
  if not v_text like any (array['%drop%', '%truncate%', '%delete%', '%update%', '%grant%', '%revoke%', '%alter%', '%program%', '%pg\_%', '%xp\_%', '%load\_file%', '%outfile%', '%shutdown%', '%superuser%', '%remove%']) then
    return v_found;
  end if;
  v_text := regexp_replace(v_text, '''[^'']*''', '''''', 'g');
  foreach v_part in array string_to_array(v_text, ';') loop
    v_found := v_found || case
      when v_part like '%drop%' and v_part ~ '\mdrop\s+(table|database|schema|index|view|materialized|role|user|owned|extension|function|type|trigger|policy|sequence|tablespace|column|keyspace|collection|publication|subscription)|\mdropdatabase|\.drop(index(es)?)?\(' then 'drop'
      when v_part like '%truncate%' and v_part ~ '\mtruncate\M' then 'truncate'
      when v_part like any (array['%delete%', '%update%', '%remove%']) and v_part ~ '\m(delete\s+from|update\s+\S+\s+set)\M|(delete|update)many\(\s*\{\s*\}|\.remove\(\s*\{?\s*\}?\s*\)'
        and v_part !~ '\mwhere\s+(?!true|1\s*=\s*1|''''\s*=\s*'''')' then case when strpos(v_part, 'update') > 0 then 'update_all' else 'delete_all' end
      when v_part ~ '\m(grant|revoke)\s+all|\mwith\s+superuser|\malter\s+(system|role|user)\M|to\s+program\M|\mpg_(read|write)_file|\mxp_cmdshell|\mload_file\(|into\s+outfile' then 'power'
      when v_part ~ '\malter\s+table\M.*\mdrop\M|\mpg_terminate_backend|\mshutdown\M' then 'alter' end;
  end loop;
  return array_remove(v_found, null);
end
$$;
comment on function coord.sql_kinds is 'What statements do that cannot be undone: drop, truncate, delete_all, update_all, power, alter.';

create function coord.add_command(
  p_state coord.shell_state, p_words text[], p_known coord.shell_programs, p_redirects text[], p_sources text[], p_does text[]
) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state := p_state;
  v_known coord.shell_programs := p_known;
  v_words text[] := p_words;
  v_program text := coord.program_name(p_words[1]);
  v_does text[] := array_remove(p_does, null);
  v_sources text[] := p_sources;
  v_flags text[] := array[]::text[];
  v_operands text[] := array[]::text[];
  v_values text[] := array[]::text[];
  v_reads text[] := array[]::text[];
  v_writes text[] := array[]::text[];
  v_classes text[] := array[]::text[];
  v_found text[];
  v_sql text[] := array[]::text[];
  v_verbs text[] := array[]::text[];
  v_tags text[];
  v_word text;
  v_name text;
  v_at integer;
  v_count integer;
  v_access text;
begin
  if v_known.name is null then
    select * into v_known from coord.shell_programs p where p.name = v_program;
  end if;
  if v_program = 'git' then
    v_at := coord.after_options(p_words, 'Cc', '{git-dir,work-tree,namespace,config-env,exec-path,super-prefix}', 0);
    v_words := array['git'] || p_words[v_at:];
    for v_index in 2 .. v_at - 1 loop
      v_word := case when p_words[v_index] = '-c' then p_words[v_index + 1] when p_words[v_index] like '-c_%' then substr(p_words[v_index], 3) end;
      if lower(v_word) like 'alias.%' then
        v_state := coord.git_alias(v_state, v_words, substr(v_word, 7));
      elsif v_word is not null then
        v_does := v_does || ('config:' || lower(split_part(v_word, '=', 1)));
      end if;
    end loop;
    if p_does && array['env:GIT_CONFIG_KEY_0'] and lower(v_state.vars ->> 'GIT_CONFIG_KEY_0') like 'alias.%' then
      v_state := coord.git_alias(v_state, v_words, substr(v_state.vars ->> 'GIT_CONFIG_KEY_0', 7) || '=' || (v_state.vars ->> 'GIT_CONFIG_VALUE_0'));
    end if;
    select * into v_known from coord.shell_programs p where p.name = 'git ' || lower(v_words[2]);
  end if;
  v_access := coalesce(v_known.access, case v_program when 'git' then 'none' else 'read' end);

  -- Flags, their values, operands.
  v_count := coalesce(cardinality(v_words), 0);
  v_at := 2;
  while v_at <= v_count loop
    v_word := v_words[v_at];
    if v_word = '--' then
      v_operands := v_operands || v_words[v_at + 1:];
      v_flags := v_flags || '--'::text;
      exit;
    elsif v_word like '--_%' then
      v_name := split_part(substr(v_word, 3), '=', 1);
      if v_known.name is not null and v_name <> all (v_known.known) and v_name <> all (v_known.names) then
        v_name := coalesce((select k from unnest(v_known.known || v_known.names) k where starts_with(k, v_name) order by length(k) limit 1), v_name);
      end if;
      if v_name like 'no-%' then
        v_flags := array_remove(v_flags, substr(v_name, 4));
      else
        v_flags := array_remove(v_flags, 'no-' || v_name);
      end if;
      v_flags := v_flags || v_name;
      if strpos(v_word, '=') > 0 then
        v_values := v_values || substr(v_word, strpos(v_word, '=') + 1);
        v_flags := v_flags || (v_name || substr(v_word, strpos(v_word, '=')));
      elsif v_name = any (v_known.names) and v_at < v_count then
        v_at := v_at + 1;
        v_values := v_values || v_words[v_at];
        v_flags := v_flags || (v_name || '=' || left(v_words[v_at], 40));
      end if;
    elsif v_word like '-_%' then
      if length(v_word) > 2 then
        v_flags := v_flags || split_part(substr(v_word, 2), '=', 1);
      end if;
      for v_index in 2 .. least(length(v_word), 12) loop
        v_name := substr(v_word, v_index, 1);
        v_flags := v_flags || v_name;
        if strpos(v_known.letters, v_name) > 0 then
          if v_index < length(v_word) then
            v_values := v_values || substr(v_word, v_index + 1);
          elsif v_at < v_count then
            v_at := v_at + 1;
            v_values := v_values || v_words[v_at];
          end if;
          v_flags := v_flags || (v_name || '=' || left(v_values[cardinality(v_values)], 40));
          exit;
        end if;
      end loop;
    else
      v_operands := v_operands || v_word;
    end if;
    v_at := v_at + 1;
  end loop;
  if v_program = 'tar' and length(v_operands[1]) <= 6 and coord.is_name(v_operands[1]) and p_words[2] = v_operands[1] then
    v_flags := v_flags || string_to_array(v_operands[1], null);
    v_operands := v_operands[2:];
  end if;
  for v_index in 1 .. least(4, cardinality(v_operands)) loop
    v_verbs := v_verbs || lower(array_to_string(v_operands[1:v_index], ' '));
  end loop;

  if cardinality(v_operands) > 2 then
    v_does := v_does || array['several', 'named'];
  elsif cardinality(v_operands) = 2 then
    v_does := v_does || 'named'::text;
  end if;

  -- Paths: among the operands, read, written.
  v_at := case when v_access = 'pattern' and not v_flags && array['e', 'f', 'regexp', 'expression', 'file', 'files'] then 2 else 1 end;
  v_count := cardinality(v_operands);
  for v_index in v_at .. v_count + case when v_access = 'none' and v_known.kind is distinct from 'fetch' then 0 else cardinality(v_values) end loop
    v_word := case when v_index <= v_count then v_operands[v_index] else v_values[v_index - v_count] end;
    -- @file, if=file, name=@file, file://
    v_name := case when v_word like 'if=%' or v_word like 'of=%' then substr(v_word, 4) when strpos(v_word, '=@') > 0 then substr(v_word, strpos(v_word, '=@') + 2) when v_word like '@%' then substr(v_word, 2)
      when lower(v_word) like 'file://%' then substr(v_word, 8) when lower(split_part(v_word, ':', 1)) in ('open', 'file') then split_part(v_word, ':', 2) else v_word end;
    -- Neither is a text of several words, unless it begins like a path.
    continue when v_known.kind = 'fetch' and v_name = v_word and not (v_index > v_count and v_flags && array['T', 'upload-file', 'post-file', 'body-file']) or strpos(v_name, ' ') > 0 and left(v_name, 1) not in ('/', '~', '.', E'\x01');
    if coord.only(lower(v_name collate "C"), 'abcdefghijklmnopqrstuvwxyz0123456789-') and v_state.cwd = v_state.root then
      v_found := '{repo}';
    else
      v_found := coord.path_classes(v_name, v_state.cwd, v_state.root, v_state.home);
      -- What a remote host has is not here.
      if v_access = 'copy' and strpos(v_name, ':') > 1 and strpos(split_part(v_name, ':', 1), '/') = 0 then
        v_found := array_remove(v_found, 'repo') || case when split_part(v_name, ':', 2) like '/%' and split_part(split_part(v_name, ':', 2), '/', 2) in ('', 'etc', 'usr', 'bin', 'sbin', 'lib', 'boot', 'root') then array['remote', 'remote_system'] else array['remote'] end;
      end if;
    end if;
    if v_index <= v_count then
      v_classes := v_classes || v_found;
    end if;
    case v_access
      when 'none' then
        if v_known.kind = 'fetch' then v_reads := v_reads || v_found; end if;
      when 'write' then v_writes := v_writes || v_found;
      when 'move' then
        v_writes := v_writes || v_found;
        if v_index < v_count then v_reads := v_reads || v_found; end if;
      when 'copy' then
        if v_index = v_count and v_count > 1 and v_word not like 'if=%' or v_word like 'of=%' then
          v_writes := v_writes || v_found;
        else
          v_reads := v_reads || v_found;
        end if;
      else
        if v_program = 'sed' and v_flags && array['i', 'in-place'] then
          v_writes := v_writes || v_found;
        else
          v_reads := v_reads || v_found;
        end if;
    end case;
    if cardinality(v_state.tainted) > 0 and coord.plain_path(v_name, v_state.cwd, v_state.home) = any (v_state.tainted) then
      if v_program in ('cp', 'mv', 'ln', 'install') then
        v_state.tainted := v_state.tainted || coord.plain_path(v_operands[v_count], v_state.cwd, v_state.home);
      else
        v_sources := v_sources || 'download'::text;
        v_does := v_does || case when v_known.kind in ('shell', 'language') then array['run_download'] else '{}' end;
      end if;
    end if;
  end loop;
  if v_program = 'git' and v_verbs[1] in ('show', 'cat-file', 'archive', 'checkout', 'diff') then
    foreach v_word in array v_operands loop
      if strpos(v_word, ':') > 0 then
        v_reads := v_reads || coord.file_classes('/' || split_part(v_word, ':', 2));
      end if;
    end loop;
  end if;
  if cardinality(v_state.tainted) > 0 and coord.plain_path(p_words[1], v_state.cwd, v_state.home) = any (v_state.tainted) then
    v_does := v_does || 'run_download'::text;
  end if;

  -- What flows out of it.
  v_tags := array(select s from unnest(v_sources) s where s not in ('pipe', 'literal', 'process') and s not like 'word:%');
  if v_known.kind = 'fetch' or v_program in ('nc', 'ncat', 'netcat', 'socat', 'telnet', 'ftp') then
    v_tags := v_tags || 'download'::text;
    v_word := case when v_program = 'wget' and not v_flags && array['O', 'output-document'] or v_flags && array['O', 'remote-name'] and v_program = 'curl' then split_part(split_part(v_operands[cardinality(v_operands)], '?', 1), '/', -1)
      else (select substr(f, strpos(f, '=') + 1) from unnest(v_flags) f where split_part(f, '=', 1) in ('o', 'O', 'output', 'output-document', 'out') and strpos(f, '=') > 0 limit 1) end;
    if v_known.kind = 'fetch' and v_word is not null and v_word not in ('-', '/dev/stdout', '') then
      v_state.tainted := v_state.tainted || coord.plain_path(v_word, v_state.cwd, v_state.home);
    end if;
  elsif v_program in ('base64', 'base32', 'basenc', 'openssl', 'gbase64') and v_flags && array['d', 'D', 'decode'] or v_program in ('uudecode', 'unbase64') or v_program = 'xxd' and v_flags && array['r', 'revert'] or v_program = 'tar' and v_flags && array['O', 'to-stdout'] then
    v_tags := v_tags || 'decode'::text;
  elsif v_program in ('tar', 'zip', 'gzip', 'bsdtar', '7z', 'cpio') then
    v_tags := v_tags || 'archive'::text;
  elsif v_program in ('env', 'printenv') and cardinality(v_operands) = 0 or v_program = 'set' and v_count = 0 or v_program in ('export', 'declare') and v_flags && array['p'] then
    v_tags := v_tags || 'environment'::text;
  elsif v_verbs && array['auth token', 'auth print-access-token', 'read', 'item get', 'secrets download', 'secretsmanager get-secret-value'] and v_program in ('gh', 'gcloud', 'vault', 'op', 'doppler', 'aws') then
    v_tags := v_tags || 'secret'::text;
  end if;
  for v_index in 1 .. cardinality(p_redirects) / 2 loop
    v_word := p_redirects[2 * v_index];
    v_name := p_redirects[2 * v_index - 1];
    if v_name = '>(' then
      v_does := v_does || 'to_shell'::text;
    elsif not (v_name like '%&' and coord.only(v_word, '0123456789-')) then
      v_found := coord.path_classes(v_word, v_state.cwd, v_state.root, v_state.home);
      if v_name in ('<', '<&', '<>') then
        v_reads := v_reads || v_found;
        if 'network' = any (v_found) or coord.plain_path(v_word, v_state.cwd, v_state.home) = any (v_state.tainted) then
          v_sources := v_sources || array['download', 'pipe'];
          v_does := v_does || 'runs_input'::text;
        end if;
      else
        v_writes := v_writes || v_found;
        v_does := v_does || case when v_name in ('>', '>|', '&>') then 'overwrite' else 'append' end;
        if v_tags && array['download', 'decode'] then
          v_state.tainted := v_state.tainted || coord.plain_path(v_word, v_state.cwd, v_state.home);
        end if;
      end if;
    end if;
  end loop;
  if 'credential' = any (v_reads) then
    v_tags := v_tags || 'credential'::text;
  end if;
  if v_program in ('psql', 'mysql', 'mariadb', 'sqlite3', 'sqlcmd', 'clickhouse-client', 'clickhouse', 'cockroach', 'mongosh', 'mongo', 'cqlsh', 'duckdb', 'mycli', 'pgcli', 'usql', 'bq', 'snowsql', 'sqlplus', 'tsql', 'influx', 'd1', 'wrangler', 'turso', 'supabase', 'prisma', 'manage.py', 'docker', 'heroku', 'kubectl', 'neo4j', 'cypher-shell', 'presto', 'trino', 'hive', 'beeline', 'impala-shell')
    or v_program in ('drop', 'truncate', 'delete', 'update', 'grant', 'alter', 'revoke', 'db.dropdatabase') or 'program' = any (v_does) and v_words[2] = '(code)' then
    v_sql := coord.sql_kinds(array_to_string(v_words, ' '));
  end if;
  if v_program = 'rsync' then
    foreach v_word in array v_values loop
      if strpos(v_word, ' ') > 0 then
        v_state := coord.read_loosely(v_state, v_word);
      end if;
    end loop;
  end if;
  v_state.commands := v_state.commands || row(
    array[v_program, '*'] || case when v_program like 'mkfs.%' or v_program like 'newfs%' then array['mkfs'] else '{}' end || case when v_known.kind is not null then array['@' || v_known.kind] else '{}' end,
    left(coord.shown(array_to_string(v_words, ' ')), 500), v_verbs, v_operands, v_flags, v_classes, v_reads, v_writes, v_sources, v_sql, v_does,
    E'\n' || left(array_to_string(v_operands, E'\n'), 8000) || E'\n')::coord.shell_command;
  v_state.tags := v_tags;
  v_state.output := null;
  return v_state;
end
$$;
comment on function coord.add_command is 'Adds a command with the facts that rules ask for.';

create function coord.git_alias(p_state coord.shell_state, p_words text[], p_alias text) returns coord.shell_state
language plpgsql
as $$
declare
  v_name text := split_part(p_alias, '=', 1);
  v_value text := substr(p_alias, strpos(p_alias, '=') + 1);
begin
  if v_name <> p_words[2] then
    return p_state;
  elsif v_value like '!%' then
    return coord.add_command(coord.read_code(p_state, substr(v_value, 2) || ' ' || array_to_string(p_words[3:], ' '), '{}', 'via:git'), array['(alias)'], null, '{}', '{}', array['config:alias']);
  elsif p_state.depth < 12 and lower(split_part(v_value, ' ', 1)) <> lower(v_name) then
    return coord.add_command(p_state, array['git'] || regexp_split_to_array(v_value, '\s+') || p_words[3:], null, '{}', '{}', '{}');
  end if;
  return p_state;
end
$$;
comment on function coord.git_alias is 'What a git command runs that is an alias given with it.';

create function coord.read_command(p_text text, p_cwd text default null, p_root text default null) returns coord.shell_state
language plpgsql
as $$
declare
  v_state coord.shell_state;
  v_text text := translate(coalesce(p_text, ''), E'\x01\x02\x03\x04\x05', '?????');
  v_root text := coalesce(nullif(rtrim(p_root, '/'), ''), nullif(rtrim(p_cwd, '/'), ''), '/home/dev/project');
  v_cwd text := coalesce(nullif(p_cwd, ''), v_root);
  v_home text := coalesce(substring(v_cwd from '^(?:/home|/Users)/[^/]+'), substring(v_root from '^(?:/home|/Users)/[^/]+'), '/root');
begin
  v_state.cwd := coord.plain_path(v_cwd, v_root, v_home);
  v_state.root := v_root;
  v_state.home := v_home;
  v_state.vars := jsonb_build_object('HOME', v_home, 'PWD', v_state.cwd, 'TMPDIR', '/tmp', 'IFS', ' ', 'SHELL', '/bin/sh', 'USER', 'user', 'LOGNAME', 'user', '0', 'sh', '@', '', '*', '', '#', '0', '?', '0', '$', '1', '!', '1', 'OLDPWD', v_root);
  v_state.functions := '{}';
  v_state.calls := '{}';
  v_state.endless := false;
  v_state.tainted := '{}';
  v_state.files := '{}';
  v_state.commands := '{}';
  v_state.problems := '{}';
  v_state.tags := '{}';
  v_state.depth := 0;
  v_state.texts := 0;
  v_state.deadline := clock_timestamp() + interval '1 second';
  v_state := coord.read_shell(v_state, v_text, false);
  -- A function that reaches itself while some call goes to the background multiplies.
  if exists (
    select from unnest(v_state.calls) c
    where c not like '& %' and split_part(c, ' ', 1) = any (v_state.functions) and split_part(c, ' ', 2) = any (v_state.functions)
      and (split_part(c, ' ', 1) = split_part(c, ' ', 2) or (split_part(c, ' ', 2) || ' ' || split_part(c, ' ', 1)) = any (v_state.calls))
      and v_state.calls && array['& ' || split_part(c, ' ', 2), '& ' || split_part(c, ' ', 1)]) then
    v_state := coord.add_command(v_state, array['(function)'], null, '{}', '{}', array['fork_bomb']);
  end if;
  return v_state;
end
$$;
comment on function coord.read_command is 'Reads a command line: the commands that it would run, and what could not be read. The home is that of the directory it runs in.';

reset role;
notify pgrst, 'reload schema';
