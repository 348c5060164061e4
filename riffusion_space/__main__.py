from riffusion_space.cli import main

raise SystemExit(main())
